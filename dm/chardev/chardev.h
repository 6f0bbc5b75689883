/* SPDX-License-Identifier: MIT */
/* dm/chardev/chardev.h - character back ends, made from what the command line says.
 *
 * Every back end runs on the loop and never blocks a guest: what the host side cannot take is
 * refused (chr_write returns 0, writable() follows) while somebody listens, and dropped when
 * nobody does. Bytes towards the device are read only as far as the device has room; reading
 * starts when the device calls chr_kick.
 */
#ifndef DM_CHARDEV_CHARDEV_H
#define DM_CHARDEV_CHARDEV_H

#include "dm/base/chr.h"

struct err;
struct ev_loop;

/* spec is what follows -serial, -monitor or -qmp:
 *   null | /dev/null | stdio | pty | file:PATH | pipe:PATH | unix:PATH[,OPTIONS]
 *   | tcp:[HOST]:PORT[,OPTIONS]
 * with OPTIONS server[=on|off], wait[=on|off] (or nowait) and nodelay[=on|off]; or what follows
 * -chardev, KIND,id=ID[,OPTION=VALUE...] (a comma in a value is doubled):
 *   null | stdio[,signal=on|off] | pty | file,path=P[,append=on|off] | pipe,path=P
 *   | socket,path=P | socket,host=H,port=N | socket,fd=N, these with the OPTIONS above
 * and for every kind logfile=P[,logappend=on|off]. id names the stream; with NULL it is the id= of
 * the option string. "chardev:ID" and "none" are the caller's business. The caller frees the
 * result with chr_free. NULL with e: -EINVAL for a spec that makes no sense, -ENOTSUP for one that
 * is known but not there yet, or what the host said. */
struct chr *chardev_new(struct ev_loop *loop, const char *id, const char *spec, struct err *e);

#endif
