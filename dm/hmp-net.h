/* SPDX-License-Identifier: MIT */
/* dm/hmp-net.h - the monitor's commands on networks. word[0] is the command; absent ones are "". */
#ifndef DM_HMP_NET_H
#define DM_HMP_NET_H

struct keel;
struct text;

void hmp_info_network(struct keel *k, struct text *out);
void hmp_info_usernet(struct keel *k, struct text *out);
void hmp_set_link(struct keel *k, char *const *word, struct text *out);
void hmp_netdev_add(struct keel *k, char *const *word, struct text *out);
void hmp_netdev_del(struct keel *k, char *const *word, struct text *out);
void hmp_hostfwd_add(struct keel *k, char *const *word, struct text *out);
void hmp_hostfwd_remove(struct keel *k, char *const *word, struct text *out);

#endif
