/* SPDX-License-Identifier: MIT */
/* tests/fuzz/fuzz-netback.c - a PV network card's front end that writes what it likes to its rings and
 * to xenstore. Eight bytes a step: what, and its arguments.
 */
#include "xen-glue/netback.h"

#include "dm/base/bytes.h"
#include "dm/base/log.h"
#include "tests/unit/pv-rig.h"

#define FRONT "/local/domain/7/device/vif/0/"
enum { STEP = 8, MAX_STEPS = 400, TX_REF = 8, RX_REF = 9, HEADER = 64 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static bool sent(struct nic *n, const struct nic_frame *f)
{
    uint8_t *full = n->priv;
    (void)f;
    return !*full;
}

static void connect_front(void)
{
    static const char *const nodes[][2] = {
        { "tx-ring-ref", "8" },
        { "rx-ring-ref", "9" },
        { "event-channel", "33" },
        { "request-rx-copy", "1" },
        { "feature-sg", "1" },
        { "feature-gso-tcpv4", "1" },
        { "feature-gso-tcpv6", "1" },
        { "feature-ipv6-csum-offload", "1" },
        { "request-multicast-control", "1" },
        { "state", "4" },
    };
    char path[80];
    for (size_t i = 0; i < ARRAY_SIZE(nodes); i++) {
        snprintf(path, sizeof(path), FRONT "%s", nodes[i][0]);
        pv_rig_write(path, nodes[i][1]);
    }
    pv_rig_turn();
}

static void deliver(struct nic *n, const uint8_t *s)
{
    static uint8_t bytes[NIC_FRAME_MAX];
    struct nic_frame f = { bytes, load_le16(s), { 0 }, 0 };
    memcpy(bytes, s, 6);
    f.off.gso = s[2] % 3;
    f.off.gso_size = load_le16(s + 3);
    f.off.csum = s[2] & 4;
    nic_deliver(n, &f);
}

static void step(struct nic *n, const uint8_t *s)
{
    uint8_t *ring = rig.grant[s[0] & 1 ? RX_REF : TX_REF];
    char text[2] = { (char)('0' + s[1] % 9), '\0' };
    switch (s[0] >> 1 & 7) {
    case 0: /* a slot, whole or in halves */
    case 1:
        memcpy(ring + HEADER + load_le16(s + 1) % (PV_PAGE - HEADER - 8), s + 2, 6);
        break;
    case 2: /* a transmit request that could be */
        store_le(ring + HEADER + s[1] * 12, 4, 16 + s[2] % 8);
        store_le(ring + HEADER + s[1] * 12 + 4, 2, s[3]);
        store_le(ring + HEADER + s[1] * 12 + 6, 2, s[4] & 15);
        store_le(ring + HEADER + s[1] * 12 + 10, 2, load_le16(s + 5) % 3000);
        break;
    case 3: /* an index */
        store_le(ring + 4 * (s[1] & 3), 4, s[1] & 0x80 ? load_le32(s + 2) : s[2]);
        break;
    case 4:
        pv_rig_ring();
        break;
    case 5:
        deliver(n, s + 1);
        break;
    case 6:
        *(uint8_t *)n->priv = s[1] & 1;
        nic_writable(n);
        break;
    default:
        pv_rig_write(FRONT "state", text);
        pv_rig_turn();
        if (s[1] & 0x80) {
            connect_front();
        }
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const struct nic_ops ops = { .kind = "fuzz", .send = sent };
    static const uint8_t mac[6] = { 0, 0x16, 0x3e, 1, 2, 3 };
    struct err e = { 0 };
    uint8_t full = 0;
    log_set_level(LOG_ERROR);
    pv_rig_up();
    struct nic *n = nic_new(rig.loop, "n0", &ops);
    n->priv = &full;
    n->tx_takes = len & 1 ? NIC_TAKES_ALL : 0;
    struct netback *back = netback_new(rig.bus, n, 0, mac, &e);
    for (uint32_t ref = TX_REF; ref < 24; ref++) {
        pv_rig_grant(ref);
    }
    pv_rig_turn();
    connect_front();
    for (size_t i = 0; i + STEP <= len && i < MAX_STEPS * STEP; i += STEP) {
        step(n, data + i);
        for (int k = 0; k < 8 && ev_loop_turn(rig.loop, 0) > 0; k++) {
        }
    }
    netback_free(back);
    if (rig.mapped || rig.bound || *pv_rig_read(FRONT "state")) {
        abort();
    }
    nic_free(n);
    pv_rig_down();
    return 0;
}
