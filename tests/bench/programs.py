#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""tests/bench/programs.py [--keel PROGRAM] [--qemu PROGRAM] [--runs N] [--only NAME,...]

Runs Debian's own programs natively, in a guest under `keel -accel tcg` and in one under
`qemu-system-x86_64 -accel tcg`: same kernel, same initramfs with the programs and libraries of this
machine, same work. Prints medians and ratios for docs/performance.md and compares what the programs
wrote. Times are processor time of what runs them (the emulator with all its threads, or natively the
program) from start to end of the program; each run is in a guest started anew, by turns. `openssl speed` runs for a fixed time of the guest's
clock instead: there a time is the processor time for a thousand of its operations.
"""
import argparse
import hashlib
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile

import cpu

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(TOP, 'tests/guest'))
import initramfs  # noqa: E402

CC1 = '/usr/lib/gcc/x86_64-linux-gnu/12/cc1'
PROGRAMS = {  # run in the folder of the inputs; what they print is compared
    'gzip': '/usr/bin/gzip -9n < text',
    'xz': '/usr/bin/xz -3 -T1 -c text-head',
    'sort': 'LC_ALL=C /usr/bin/sort lines',
    'python3': '/usr/bin/python3 -I -S work.py',
    'perl': '/usr/bin/perl work.pl text',
    'sqlite3': '/usr/bin/sqlite3 :memory: < work.sql',
    'cc1': CC1 + ' -fpreprocessed -quiet -O2 -std=gnu11 source.i -o -',
}
OPENSSL = ['sha256', 'aes-128-gcm', 'rsa2048', 'ecdsap256']
LIMIT = 1500  # seconds a guest may take

PYTHON = '''
import re, json
def primes(n):
    s = bytearray([1]) * n
    for i in range(2, int(n ** .5) + 1):
        if s[i]:
            for k in range(i * i, n, i):
                s[k] = 0
    return sum(s) - 2
class Node:
    def __init__(self, key):
        self.key, self.left, self.right = key, None, None
    def add(self, key):
        node = self
        while True:
            side = 'left' if key < node.key else 'right'
            child = getattr(node, side)
            if child is None:
                setattr(node, side, Node(key))
                return
            node = child
words = open('text-head').read().split()
count = {}
for w in words:
    count[w] = count.get(w, 0) + 1
root = Node('m')
for w in words[:12000]:
    root.add(w)
x = 0.0
for i in range(1, 150000):
    x += 1.0 / (i * i)
text = json.dumps(sorted(count.items()))
print(primes(200000), len(re.findall('[aeiou]{2}[^aeiou ]', text)), '%.12f' % x, hash(len(json.loads(text))))
'''
PERL = r'''
my (%n, $vowels, @long);
while (<>) {
    for my $w (split) { $n{$w}++; $vowels++ if $w =~ /[aeiou]{2,}[^aeiou]/; }
    s/(\w+) (\w+)/$2 $1/g;
    push @long, $_ if /^(?:\w+ ){3}b/;
}
my @k = sort { $n{$b} <=> $n{$a} || $a cmp $b } keys %n;
print scalar(@k), " $vowels ", scalar(@long), " @k[0..9]\n", map { reverse } sort @long;
'''
SQL = '''
CREATE TABLE t(id INTEGER PRIMARY KEY, k INTEGER, name TEXT, v REAL);
WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 60000)
INSERT INTO t SELECT i, (i * 7919) % 1009, 'name' || (i * 31337) % 60013, i / 7.0 FROM c;
CREATE INDEX tk ON t(k, v);
CREATE INDEX tn ON t(name);
SELECT k, count(*), sum(v), max(name) FROM t GROUP BY k HAVING k % 100 = 0;
SELECT count(*) FROM t a WHERE EXISTS (SELECT 1 FROM t b INDEXED BY tn WHERE b.name = a.name AND b.id <> a.id);
UPDATE t SET v = v * 2 WHERE k BETWEEN 100 AND 300;
DELETE FROM t WHERE name LIKE '%77';
SELECT count(*), sum(length(name)), round(total(v), 3) FROM t;
SELECT name, v FROM t ORDER BY v * (k % 13) DESC, name LIMIT 20;
'''

INIT = '''cd /data; export HOME=/
run() {
  echo "run $1"; eval "$2" > /tmp/out; echo "end $1"
  echo "sum $1 $(md5sum < /tmp/out)"
}
for i in $(seq %d); do
%s
done
echo bench-end; reboot -f
'''


def openssl_command(name):
    evp = '-evp ' if name in ('aes-128-gcm', 'sha256') else ''
    return '/usr/bin/openssl speed -seconds 1 -bytes 1024 %s%s' % (evp, name)


def command(name):
    return openssl_command(name[8:]) if name.startswith('openssl-') else PROGRAMS[name]


def text(size, line):
    """Pseudo-words, some far more frequent than others: the same bytes everywhere."""
    state, out, words = [88172645463325252], [], []

    def rnd(n):
        s = state[0]
        s ^= s << 13 & (1 << 64) - 1
        s ^= s >> 7
        state[0] = s ^ s << 17 & (1 << 64) - 1
        return (state[0] >> 11) % n

    for _ in range(5000):
        words.append(''.join(rnd(2) and 'etaoinshr'[rnd(9)] or 'abcdefghijklmnopqrstuvwxyz'[rnd(26)]
                             for _ in range(2 + rnd(9))))
    n = 0
    while n < size:
        row = ' '.join(words[rnd(1 + rnd(1 + rnd(5000)))] for _ in range(line))
        out.append(row)
        n += len(row) + 1
    return ('\n'.join(out) + '\n').encode()


def inputs(folder):
    big = text(4 << 20, 10)
    source = subprocess.run(['gcc', '-E', '-I' + TOP, TOP + '/hw/net/e1000.c'], check=True,
                            stdout=subprocess.PIPE).stdout
    for name, data in (('text', big), ('text-head', big[:800000]), ('lines', text(4 << 20, 3)),
                       ('source.i', source), ('work.py', PYTHON), ('work.pl', PERL), ('work.sql', SQL)):
        with open(folder + '/' + name, 'wb') as f:
            f.write(data if isinstance(data, bytes) else data.encode())


def libraries(program):
    """Paths of the shared objects it needs, with the loader."""
    out = subprocess.run(['ldd', program], stdout=subprocess.PIPE, text=True).stdout
    return re.findall(r'(/\S+) \(0x', out)


def python_files():
    """The modules that work.py loads, and those of the interpreter's start."""
    show = 'import re, json, sys\nfor m in list(sys.modules.values()): print(getattr(m, "__file__", None))'
    out = subprocess.run(['/usr/bin/python3', '-I', '-S', '-c', show], check=True,
                         stdout=subprocess.PIPE, text=True).stdout
    return [p for p in out.split('\n') if p.startswith('/')] + ['/usr/lib/python3.11/encodings/aliases.py']


def archive(work, names, rounds=1):
    """An initramfs that runs each program in turn, so many times."""
    programs = {re.search(r'/usr/\S+', command(n))[0] for n in names}
    paths = set(programs).union(*map(libraries, programs))
    if 'python3' in names:
        paths.update(python_files())
    paths.update(work + '/data/' + f for f in os.listdir(work + '/data'))
    files = []
    for p in sorted(paths):
        with open(p, 'rb') as f:
            files.append((p.replace(work, ''), f.read(), 0o755))
    calls = '\n'.join("run %s '%s'" % (n, command(n)) for n in names)
    initramfs.build(work + '/initrd', INIT % (rounds, calls), files=files)


def operations(line):
    """Of a line of openssl speed ("Doing ... for 1s...: N ... in 0.98s"), or None."""
    m = re.match(r'Doing .*: (\d+) .* in [\d.]+s', line)
    return int(m[1]) if m else None


def machine(program, keel, work):
    argv = cpu.machine(program, keel)
    argv[argv.index('512')] = '1024'
    return argv + ['-kernel', initramfs.kernels()[0], '-initrd', work + '/initrd', '-append',
                   'console=ttyS0 quiet panic=-1 tsc=reliable']


def guest(program, keel, work, times, sums):
    """Adds times in ms and md5 sums, both lists by name. Lines: run, what openssl did, end, sum."""
    began, took, name = 0, 0, None
    for now, line in cpu.lines_of(machine(program, keel, work), LIMIT):
        word = line.split()
        if line == 'bench-end':
            break
        if word[:1] == ['run']:
            began, name = now, word[1]
        elif word[:1] == ['end']:
            took = (now - began) / 1e6
        elif word[:1] == ['sum'] and not name.startswith('openssl'):
            times.setdefault(name, []).append(took)
            sums.setdefault(name, set()).add(word[2])
        elif operations(line) and began:  # the first of two: signatures
            times.setdefault(name, []).append((now - began) / 1e3 / operations(line))
            began = 0


def native(work, names, runs):
    times, sums = {}, {}
    for name in names * runs:
        with open(work + '/out', 'wb') as out, open(work + '/err', 'wb') as err:
            p = subprocess.Popen(['sh', '-c', command(name)], cwd=work + '/data', stdout=out, stderr=err)
            _, status, usage = os.wait4(p.pid, 0)
        took = 1000 * (usage.ru_utime + usage.ru_stime)
        did = [operations(x) for x in open(work + '/err').read().split('\n') if operations(x)]
        if status:
            sys.exit('programs.py: %s fails here: %s' % (name, open(work + '/err').read()))
        if did:
            times.setdefault(name, []).append(1000 * took / len(did) / did[0])
        else:
            times.setdefault(name, []).append(took)
            with open(work + '/out', 'rb') as f:
                sums.setdefault(name, set()).add(hashlib.md5(f.read()).hexdigest())
    return times, sums


def print_table(names, nat, keel, qemu):
    print('| program | native ms | Keel ms | QEMU ms | Keel / native | QEMU / Keel |')
    print('|---|---:|---:|---:|---:|---:|')
    ratios = {}
    for name in names:
        n, k, q = [t.get(name) and statistics.median(t[name]) for t in (nat, keel, qemu)]
        cells = ['%.4g' % x if x else '-' for x in (n, k, q)]
        cells.append('%.2f' % (k / n) if k and n else '-')
        cells.append('**%.2f**' % (q / k) if q and k else '-')
        if q and k:
            ratios.setdefault(name.split('-')[0], []).append(q / k)
        print('| %s | %s |' % (name, ' | '.join(cells)))
    print('| *geometric mean (openssl counts once)* | | | | | **%.2f** |'
          % cpu.geomean([cpu.geomean(r) for r in ratios.values()]))


def main():
    every = list(PROGRAMS) + ['openssl-' + n for n in OPENSSL]
    ap = argparse.ArgumentParser(usage=__doc__)
    ap.add_argument('--keel', default=os.environ.get('KEEL_BUILD', 'build') + '/dm/keel')
    ap.add_argument('--qemu', default=shutil.which('qemu-system-x86_64'))
    ap.add_argument('--no-qemu', action='store_true')
    ap.add_argument('--runs', type=int, default=3)
    ap.add_argument('--only', default=','.join(every))
    ap.add_argument('--keep', help='a folder for the guest\'s files, which stay')
    a = ap.parse_args()
    names = a.only.split(',')
    unknown = [n for n in names if n not in every]
    if unknown or not initramfs.kernels():
        sys.exit('programs.py: %s' % ('unknown: ' + ', '.join(unknown) if unknown else 'no /boot/vmlinuz'))
    with tempfile.TemporaryDirectory() as work:
        work = a.keep or work
        os.makedirs(work + '/data', exist_ok=True)
        inputs(work + '/data')
        archive(work, names)
        keel, qemu, ksums, qsums = {}, {}, {}, {}
        nat, want = native(work, names, a.runs)
        for _ in range(a.runs):  # by turns: other work on the host meets both
            guest(a.keel, True, work, keel, ksums)
            if a.qemu and not a.no_qemu:
                guest(a.qemu, False, work, qemu, qsums)
        print_table(names, nat, keel, qemu)
        wrong = [(who, n) for who, sums in (('keel', ksums), ('qemu', qsums))
                 for n in sums if sums[n] != want[n]]
        for who, name in wrong:
            print('# %s wrote something else under %s' % (name, who))
    return 1 if wrong or any(n not in keel for n in names) else 0


if __name__ == '__main__':
    sys.exit(main())
