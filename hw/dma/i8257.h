/* SPDX-License-Identifier: MIT */
/* hw/dma/i8257.h - a DMA channel as the device on its DREQ wire sees it.
 *
 * A device attaches to a channel, raises DREQ, and moves bytes between its FIFO and guest memory
 * with i8257_read and i8257_write as far as the guest has programmed the channel. When they return
 * less than asked for, nothing more will move until ready() is called: the channel is masked, the
 * controller off, the mode wrong, or the count ran out (terminal count).
 */
#ifndef HW_DMA_I8257_H
#define HW_DMA_I8257_H

#include "ioreq/dev.h"

struct i8257_user {
    /* The guest programmed the channel while DREQ was high: transfers may move now. Called from
     * inside the guest's register write. */
    void (*ready)(void *opaque);
    void *opaque;
};

/* d: an i8257; channel 0..3 of it (8-bit on the first controller, 16-bit on the second). The user
 * struct stays the caller's; NULL detaches. One user a channel. */
void i8257_attach(struct device *d, unsigned channel, const struct i8257_user *u);
/* The DREQ wire; users drive it again after a load. */
void i8257_dreq(struct device *d, unsigned channel, bool level);

/* Memory to device (the 8237's read transfer) and device to memory (write transfer; in verify mode
 * bytes are counted but memory is not touched). len in bytes, rounded down to whole units of the
 * channel. Returns bytes moved; *tc tells whether the count ran out with the last of them.
 * Addresses outside RAM read as all ones and swallow writes. */
size_t i8257_read(struct device *d, unsigned channel, void *buf, size_t len, bool *tc);
size_t i8257_write(struct device *d, unsigned channel, const void *buf, size_t len, bool *tc);

extern const struct dev_class i8257_class;

#endif
