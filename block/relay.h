/* SPDX-License-Identifier: MIT */
/* block/relay.h - a node of another thread's context that stands for a node of the graph.
 *
 * For long work that waits for its I/O, on a node of a machine that runs: a thread does it in a
 * context of its own, and each request there is carried to the graph's thread and its answer back.
 *
 *   the work's thread   node_submit -> asked ............................ node_complete
 *                                        |                                     ^
 *   the graph's thread                 asked(), relay_carry -> node_submit -> done
 */
#ifndef BLOCK_RELAY_H
#define BLOCK_RELAY_H

#include "block/node.h"

struct relay;

/* ---- on the graph's thread ---- */

/* For `to`, which stays the caller's and whose length nobody else changes. asked runs on this thread
 * when there is something to carry, and again when something ends while there is. */
struct relay *relay_new(struct node *to, void (*asked)(void *opaque), void *opaque);
/* Hands what was asked for to the node. Whoever holds the graph may do so later. NULL is fine. */
void relay_carry(struct relay *r);
/* Nothing that was carried is at the node. True for NULL. */
bool relay_idle(const struct relay *r);
/* What was not carried yet, and everything from now on, ends with -ECANCELED. NULL is fine. */
void relay_stop(struct relay *r);
/* The node was closed. From the loop, not from the completion of a request. NULL is fine. */
void relay_free(struct relay *r);

/* ---- on the work's thread ---- */

/* The node, of c. NULL for NULL. */
struct node *relay_open(struct relay *r, struct node_ctx *c);

#endif
