#!/usr/bin/env python3
"""tests/run.py [--suite NAME]... [--build DIR] [--keep-going] - build Keel and run its tests.

Suites, in this order (all by default):
  style       include order, clang-format, file heads, tests that documents name
  unit        tests/unit, tests/fake-xen: cmocka programs
  functional  tests/functional: the real programs, driven from outside
  oracle      random instructions: the translator's engines against the processor, for a minute
  traces      every tests/traces/*.ktr replays without a difference
  guest       tests/guest: real systems boot on the translator
  sanitize    unit and functional again under ASan and UBSan; what has threads under TSan
  fuzz        every fuzz target for a few seconds, under sanitizers ($KEEL_SEED: another course);
              beside sanitize
  xen         real Xen under emulation: xl starts Keel (runs beside the others)

Each check is one line "ok - what" or "not ok - what". The last line is "N passed, M failed".
"""
import argparse
import glob
import json
import os
import re
import struct
import subprocess
import sys
import threading
import time
import zlib

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SUITES = ['style', 'unit', 'functional', 'oracle', 'traces', 'guest', 'sanitize', 'fuzz', 'xen']
print_lock = threading.Lock()


class Count:
    def __init__(self):
        self.passed = self.failed = 0

    def take(self, ok, what, details=''):
        with print_lock:
            self.passed += ok
            self.failed += not ok
            if not ok or not what.startswith('unit:'):
                print('%s - %s' % ('ok' if ok else 'not ok', what))
            if not ok and details:
                print(''.join('#   %s\n' % line for line in details.splitlines()[-40:]), end='')
            sys.stdout.flush()

    def tap(self, suite, output):
        """Counts the ok and not ok lines of output; returns how many there were."""
        n = 0
        comments = []
        for line in output.splitlines():
            m = re.match(r'\s*(not )?ok\b[ \d]*-?\s*(.*)', line)
            if m and '# SKIP' not in line:
                self.take(not m[1], '%s: %s' % (suite, m[2]), '\n'.join(comments[-30:]))
                n += 1
                comments = []
            else:
                comments.append(line)
        return n


count = Count()


class Took:
    """Says how long it took, unless that was less than so many seconds."""
    def __init__(self, what, least=0):
        self.what, self.least = what, least

    def __enter__(self):
        self.began = time.time()

    def __exit__(self, *_):
        took = time.time() - self.began
        if took >= self.least:
            with print_lock:
                print('# %s took %.0f s' % (self.what, took), flush=True)


# A hang is a failure, a host with other work is none.
LIMIT = 1800


def run(argv, timeout=LIMIT, env=None, cwd=TOP):
    """Returns exit status and combined output; a status of 124 is a time-out."""
    try:
        p = subprocess.run(argv, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, timeout=timeout, env=dict(os.environ, **(env or {})))
        return p.returncode, p.stdout.decode(errors='replace')
    except subprocess.TimeoutExpired as e:
        return 124, (e.stdout or b'').decode(errors='replace') + '\ntimed out after %d s' % timeout


def build(where, *options, env=None, targets=()):
    if not os.path.exists(where + '/build.ninja'):
        rc, out = run(['meson', 'setup', where, TOP, *options], env=env)
        if rc:
            count.take(False, 'configure ' + where, out)
            return False
    rc, out = run(['ninja', '-C', where, *targets])
    count.take(rc == 0, 'build %s' % os.path.basename(where), out)
    return rc == 0


def style(build_dir):
    rc, out = run(['tools/check-includes'])
    count.take(rc == 0, 'style: include order', out)
    rc, out = run(['tools/check-docs'])
    count.take(rc == 0, 'style: documents name tests that exist', out)
    files = subprocess.run(['git', 'ls-files', '*.c', '*.h'], cwd=TOP, capture_output=True,
                           text=True, check=True).stdout.split()
    rc, out = run(['clang-format', '--dry-run', '--Werror', *files])
    count.take(rc == 0, 'style: clang-format', '\n'.join(x for x in out.splitlines() if 'error' in x))
    headless = [f for f in files if not open(os.path.join(TOP, f)).read(200).startswith('/* SPDX-License-Identifier: MIT */\n/* ')]
    count.take(not headless, 'style: every file says its licence and purpose', '\n'.join(headless))


def programs(build_dir, suite):
    tests = json.loads(subprocess.run(['meson', 'introspect', '--tests', build_dir], cwd=TOP,
                                      capture_output=True, text=True, check=True).stdout)
    return [t for t in tests if any(s.endswith(suite) for s in t['suite'])]


def unit(build_dir, label='unit', wrapper_env=None):
    env = {'CMOCKA_MESSAGE_OUTPUT': 'TAP'}
    env.update(wrapper_env or {})
    for t in programs(build_dir, 'unit'):
        with Took('%s: %s' % (label, t['name']), 10):
            rc, out = run(t['cmd'], env=dict(env, **t['env']))
        n = count.tap('%s: %s' % (label, t['name']), out)
        if rc and 'not ok' not in out or not n:
            count.take(False, '%s: %s ended with status %d after %d tests' % (label, t['name'], rc, n), out)


# What the image fuzzers do as well, in less time.
SLOW_UNDER_SANITIZERS = ['img-random']


def script(build_dir, label, path, env=None):
    name = os.path.basename(path)[5:-3]
    with Took('%s: %s' % (label, name), 10):
        rc, out = run([sys.executable, path], env=dict(env or {}, KEEL_BUILD=build_dir))
    n = count.tap('%s: %s' % (label, name), out)
    if rc and 'not ok' not in out or not n:
        count.take(False, '%s: %s ended with status %d after %d tests' % (label, name, rc, n), out)


def scripts_in(folder, but=()):
    return [p for p in sorted(glob.glob('%s/tests/%s/test-*.py' % (TOP, folder)))
            if os.path.basename(p)[5:-3] not in but]


def functional(build_dir, label='functional', env=None, but=()):
    for path in scripts_in('functional', but):
        script(build_dir, label, path, env)


# Waits for the guest's clock most of its time: the others run meanwhile.
PATIENT = 'net-life'


def guest(build_dir):
    patient = threading.Thread(target=script, args=(build_dir, 'guest', '%s/tests/guest/test-%s.py' % (TOP, PATIENT)))
    patient.start()
    for path in scripts_in('guest', [PATIENT]):
        script(build_dir, 'guest', path)
    patient.join()


def oracle(build_dir):
    """tests/oracle: what once was found, then new cases; and an engine with mistakes must be found."""
    program = build_dir + '/tests/oracle/oracle'
    if not os.path.exists(program):
        return  # no x86-64 host
    rc, out = run([program, '--regressions', 'tests/oracle/regressions.txt', '-t', '60'])
    lines = out.splitlines() or ['']
    count.take(rc == 0, 'oracle: engines agree with the processor (%s)' % lines[-1].lstrip('# '), out)
    rc, out = run([program, '--engines', 'wrong', '-n', '20000', '-s', '2'])
    ok = rc == 1 and 'imul' in out and 'addpd' in out
    count.take(ok, 'oracle: finds an engine that is wrong now and then', out)


def pixels(path):
    """Size and RGB bytes of a PNG with 8 bits a channel and no interlace, as screenshots are."""
    data = open(path, 'rb').read()
    at, idat = 8, b''
    while at < len(data):
        n, kind = struct.unpack('>I4s', data[at:at + 8])
        body = data[at + 8:at + 8 + n]
        if kind == b'IHDR':
            w, h, depth, colour = struct.unpack('>IIBB', body[:10])
        idat += body if kind == b'IDAT' else b''
        at += 12 + n
    assert depth == 8 and colour in (2, 6), path
    bpp = 3 if colour == 2 else 4
    raw, rows, prev = zlib.decompress(idat), b'', bytes(w * bpp)
    for y in range(h):
        kind, row = raw[y * (w * bpp + 1)], bytearray(raw[y * (w * bpp + 1) + 1:(y + 1) * (w * bpp + 1)])
        for i in range(len(row) if kind else 0):
            a, b, c = row[i - bpp] if i >= bpp else 0, prev[i], prev[i - bpp] if i >= bpp else 0
            p = a + b - c
            paeth = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]
            row[i] = (row[i] + (0, a, b, (a + b) // 2, paeth)[kind]) & 255
        prev = bytes(row)
        rows += prev if bpp == 3 else b''.join(prev[i:i + 3] for i in range(0, len(prev), 4))
    return w, h, rows


def traces(build_dir):
    """Each fixture replays without a difference in under 5 s and leaves the picture beside it."""
    for path in sorted(glob.glob(TOP + '/tests/traces/*.ktr')):
        name, shot = os.path.basename(path), build_dir + '/replayed.png'
        t = time.time()
        rc, out = run([build_dir + '/tools/keel-trace', 'replay', path, '--png', shot])
        took = time.time() - t
        count.take(rc == 0 and took < 5, 'traces: %s replays (%.1f s)' % (name, took), out)
        same = rc == 0 and pixels(shot) == pixels(path[:-4] + '.png')
        count.take(same, 'traces: %s leaves the picture it should' % name)


SAN = {'ASAN_OPTIONS': 'abort_on_error=0:detect_leaks=1', 'UBSAN_OPTIONS': 'halt_on_error=1:print_stacktrace=1'}


# No -Dwerror: what sanitizers add to the code provokes warnings of its own. -O1 compiles in half the
# time that -O2 takes and runs as fast, since the checks take most of it.
SANITIZED = ['-Db_lundef=false', '-Doptimization=1']


def sanitize(build_dir):
    where = build_dir + '-san'
    if build(where, *SANITIZED, '-Db_sanitize=address,undefined'):
        units = threading.Thread(target=unit, args=(where, 'sanitize', SAN))
        units.start()
        functional(where, 'sanitize', dict(SAN, KEEL_SLOW='1'), SLOW_UNDER_SANITIZERS)
        units.join()
    tsan(build_dir)


# What runs on more than one thread: the loop, viewers, disk workers, the ring thread under fake Xen.
TSAN_UNIT = ['ev', 'vnc', 'blk', 'chardev']
TSAN_FUNCTIONAL = ['xen-glue', 'xen-keel']
# Two processors of Keel's own, translated: the interpreter's accesses to the guest's memory have no names.
TSAN_GUEST = ['atomics', 'translated']


def tsan(build_dir):
    where = build_dir + '-tsan'
    if not os.path.exists(where + '/build.ninja'):
        run(['meson', 'setup', where, TOP, *SANITIZED, '-Db_sanitize=thread'])
    libs = ['libfakexen-new.so'] + [os.path.basename(f) for f in glob.glob(build_dir + '/tests/fake-xen/libxen*')]
    rc, out = run(['ninja', '-C', where, 'dm/keel', 'tools/keel-trace'] + ['tests/unit/test-' + t for t in TSAN_UNIT] +
                  ['tests/fake-xen/' + f for f in ['mini-model', 'fake-guest'] + libs])
    count.take(rc == 0, 'build %s' % os.path.basename(where), out)
    programs = [[where + '/tests/unit/test-' + t] for t in TSAN_UNIT]
    programs += [[sys.executable, '%s/tests/functional/test-%s.py' % (TOP, t)] for t in TSAN_FUNCTIONAL]
    programs += [[sys.executable, '%s/tests/functional/test-%s.py' % (TOP, TSAN_GUEST[0]), *TSAN_GUEST[1:]]]
    for argv in programs if rc == 0 else []:
        for old in glob.glob(where + '/race.*'):
            os.unlink(old)
        rc, out = run(argv, env={
            'KEEL_BUILD': where, 'CMOCKA_MESSAGE_OUTPUT': 'TAP', 'TSAN_OPTIONS': 'log_path=%s/race:suppressions=%s/tests/tsan.supp' % (where, TOP)})
        races = ''.join(open(f).read() for f in glob.glob(where + '/race.*'))  # one a process
        count.take(rc == 0 and not races, 'sanitize: no race in ' + os.path.basename(argv[-1]), out + races)


def fuzz(build_dir, seconds=4):
    where = build_dir + '-fuzz'
    if not build(where, *SANITIZED, '-Db_sanitize=address,undefined', '-Dc_args=-fsanitize=fuzzer-no-link',
                 env={'CC': 'clang'}, targets=['fuzzers']):
        return
    for path in sorted(glob.glob(where + '/tests/fuzz/fuzz-*')):
        name = os.path.basename(path)
        if not os.access(path, os.X_OK) or os.path.isdir(path):
            continue
        work = where + '/corpus-' + name
        os.makedirs(work, exist_ok=True)
        seeds = [d for d in [TOP + '/tests/fuzz/seeds/' + name] if os.path.isdir(d)]
        rc, out = run([path, '-max_total_time=%d' % seconds, '-timeout=30', '-rss_limit_mb=1024',
                       '-seed=' + os.environ.get('KEEL_SEED', '1'), '-print_final_stats=1', work, *seeds],
                      env=SAN, cwd=where)
        m = re.search(r'number_of_executed_units: (\d+)', out)
        count.take(rc == 0, 'fuzz: %s, %s runs' % (name, m[1] if m else 'no'), out)


def xen(build_dir):
    rc, out = run(['tests/xen/ci.sh', '-d', build_dir + '/dm/keel', '-o', build_dir + '-xen'], timeout=2 * LIMIT)
    with open(build_dir + '-xen.log', 'w') as f:
        f.write(out)
    n = count.tap('xen', out)
    if rc and 'not ok' not in out or not n:
        count.take(False, 'xen: ended with status %d after %d checks' % (rc, n), out)


def timed(suite, build_dir):
    with Took(suite):
        globals()[suite](build_dir)


def main():
    ap = argparse.ArgumentParser(usage=__doc__)
    ap.add_argument('--suite', action='append', choices=SUITES)
    ap.add_argument('--build', default=TOP + '/build')
    a = ap.parse_args()
    suites = a.suite or SUITES
    build_dir = os.path.abspath(a.build)
    if build(build_dir, '-Dwerror=true'):
        beside = None
        if 'xen' in suites:
            beside = threading.Thread(target=xen, args=(build_dir,))
            beside.start()
        last = None
        for s in suites:
            if s == 'sanitize' and 'fuzz' in suites:  # neither wants more than one processor
                last = threading.Thread(target=timed, args=('fuzz', build_dir))
                last.start()
            if s != 'xen' and not (s == 'fuzz' and last):
                timed(s, build_dir)
        for thread in (last, beside):
            if thread:
                thread.join()
    print('%d passed, %d failed' % (count.passed, count.failed))
    return count.failed != 0


if __name__ == '__main__':
    sys.exit(main())
