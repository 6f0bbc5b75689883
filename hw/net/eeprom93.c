/* SPDX-License-Identifier: MIT */
/* hw/net/eeprom93.c - the serial EEPROM behind a network card: 93C46, organised as 64 x 16.
 *
 * Bits are taken at the rising clock while selected: a start bit, two of operation, six of address,
 * and 16 of data for a write. A read answers with a zero bit, then data, highest bit first, and
 * goes on with the next word. Writing takes no time. Reference: Microchip 93C46B, DS21749.
 */
#include "hw/net/net-dev.h"

enum { IDLE, COMMAND, READ, DATA, DONE }; /* state */
enum { OP_EXTENDED, OP_WRITE, OP_READ, OP_ERASE };
enum { EXT_DISABLE, EXT_WRITE_ALL, EXT_ERASE_ALL, EXT_ENABLE };

const struct state_field eeprom93_state[] = {
    FIELD_ARRAY(struct eeprom93, word),
    FIELD(struct eeprom93, shift),
    FIELD_RANGE(struct eeprom93, bits, 0, 16),
    FIELD_RANGE(struct eeprom93, state, 0, DONE),
    FIELD_RANGE(struct eeprom93, address, 0, 63),
    FIELD(struct eeprom93, sk),
    FIELD(struct eeprom93, out),
    FIELD(struct eeprom93, may_write),
    FIELD_END,
};

void eeprom93_idle(struct eeprom93 *e)
{
    e->state = IDLE;
    e->shift = e->bits = 0;
    e->out = true; /* ready */
}

static void fill(struct eeprom93 *e, uint16_t value)
{
    for (unsigned i = 0; i < 64 && e->may_write; i++) {
        e->word[i] = value;
    }
}

static void extended(struct eeprom93 *e)
{
    switch (e->address >> 4) {
    case EXT_DISABLE:
        e->may_write = false;
        break;
    case EXT_ENABLE:
        e->may_write = true;
        break;
    case EXT_ERASE_ALL:
        fill(e, 0xffff);
        break;
    default:
        e->state = DATA;
        break;
    }
}

/* Start bit, operation and address are in. The operation stays above the address in shift. */
static void command(struct eeprom93 *e)
{
    unsigned op = e->shift >> 6 & 3;
    e->address = e->shift & 63;
    e->bits = 0;
    e->state = DONE;
    if (op == OP_READ) {
        e->state = READ;
        e->shift = e->word[e->address];
        e->out = false;
    } else if (op == OP_WRITE) {
        e->state = DATA;
    } else if (op == OP_ERASE && e->may_write) {
        e->word[e->address] = 0xffff;
    } else if (op == OP_EXTENDED) {
        extended(e);
    }
    if (e->state == DATA) {
        e->out = op == OP_EXTENDED; /* remembers that all words are meant */
    }
}

static void data_bit(struct eeprom93 *e, bool di)
{
    e->shift = (uint16_t)(e->shift << 1 | di);
    if (++e->bits < 16) {
        return;
    }
    if (e->out) {
        fill(e, e->shift);
    } else if (e->may_write) {
        e->word[e->address] = e->shift;
    }
    e->state = DONE;
    e->bits = 0;
    e->out = true;
}

static void read_bit(struct eeprom93 *e)
{
    e->out = e->shift & 0x8000;
    e->shift = (uint16_t)(e->shift << 1);
    if (++e->bits == 16) {
        e->bits = 0;
        e->address = (e->address + 1) & 63;
        e->shift = e->word[e->address];
    }
}

static void rising(struct eeprom93 *e, bool di)
{
    switch (e->state) {
    case IDLE:
        e->state = di ? COMMAND : IDLE;
        e->shift = e->bits = 0;
        break;
    case COMMAND:
        e->shift = (uint16_t)(e->shift << 1 | di);
        if (++e->bits == 8) {
            command(e);
        }
        break;
    case READ:
        read_bit(e);
        break;
    case DATA:
        data_bit(e, di);
        break;
    default:
        break;
    }
}

void eeprom93_wires(struct eeprom93 *e, bool cs, bool sk, bool di)
{
    bool edge = sk && !e->sk;
    e->sk = sk;
    if (!cs) {
        eeprom93_idle(e);
    } else if (edge) {
        rising(e, di);
    }
}
