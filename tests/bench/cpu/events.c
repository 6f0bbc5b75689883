/* SPDX-License-Identifier: MIT */
/* tests/bench/cpu/events.c - what a processor does rarely, over and over, without a kernel around it.
 *
 * Says "begin NAME COUNT" and "end NAME COUNT" on the first serial port; the host takes the time
 * between the lines. Runs in long mode with interrupts off.
 */
#include <stddef.h>
#include <stdint.h>

extern uint64_t pml4[], table[], *fault_entry;
void on_interrupt(void);
void on_page_fault(void);
int main(void);

static inline void outb(uint16_t port, uint8_t v)
{
    __asm__ volatile("outb %0, %1" ::"a"(v), "Nd"(port));
}

static inline uint8_t inb(uint16_t port)
{
    uint8_t v;
    __asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}

static void put(const char *s)
{
    for (; *s; s++) {
        while (!(inb(0x3fd) & 0x20)) {
        }
        outb(0x3f8, (uint8_t)*s);
    }
}

static void put_number(uint32_t v)
{
    char text[12], *p = text + 11;
    *p = 0;
    do {
        *--p = (char)('0' + v % 10);
        v /= 10;
    } while (v);
    put(p);
}

static struct {
    uint16_t low, selector, type, middle;
    uint32_t high, zero;
} idt[256];

static void set_gate(unsigned n, void (*fn)(void))
{
    uint64_t a = (uint64_t)(uintptr_t)fn;
    idt[n].low = (uint16_t)a;
    idt[n].selector = 8;
    idt[n].type = 0x8e00;
    idt[n].middle = (uint16_t)(a >> 16);
    idt[n].high = (uint32_t)(a >> 32);
}

static volatile uint8_t *const pages = (volatile uint8_t *)0x2000000; /* the 4 KiB ones */

static void interrupt(uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        __asm__ volatile("int $0x40" ::: "memory");
    }
}

static void pagefault(uint32_t n)
{
    fault_entry = &table[5];
    for (uint32_t i = 0; i < n; i++) {
        table[5] &= ~1ull;
        __asm__ volatile("invlpg (%0)" ::"r"(pages + 5 * 4096) : "memory");
        pages[5 * 4096] = (uint8_t)i;
    }
}

/* n counts pages touched. */
static void tlbrefill(uint32_t n)
{
    for (uint32_t i = 0; i < n; i += 32) {
        __asm__ volatile("movq %0, %%cr3" ::"r"(pml4) : "memory");
        for (uint32_t k = 0; k < 32; k++) {
            (void)pages[k * 4096];
        }
    }
}

static void port(uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        outb(0x80, (uint8_t)i);
    }
}

/* Rewrites the immediate of an instruction and runs it. */
static void smc(uint32_t n)
{
    volatile uint8_t *code = pages + 64 * 4096;
    static const uint8_t bytes[] = { 0xb8, 0, 0, 0, 0, 0xc3 }; /* mov eax, N; ret */
    for (unsigned i = 0; i < sizeof(bytes); i++) {
        code[i] = bytes[i];
    }
    for (uint32_t i = 0; i < n; i++) {
        *(volatile uint32_t *)(code + 1) = i;
        if (((uint32_t(*)(void))(uintptr_t)code)() != i) {
            put("smc: stale\r\n");
        }
    }
}

/* Data stores into a page that holds running code. */
static void codestore(uint32_t n)
{
    volatile uint8_t *code = pages + 65 * 4096;
    code[0] = 0xc3;
    for (uint32_t i = 0; i < n; i++) {
        code[2048] = (uint8_t)i;
        if (!(i & 63)) {
            ((void (*)(void))(uintptr_t)code)();
        }
    }
}

static void pushf(uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        __asm__ volatile("pushfq; popfq" ::: "memory", "cc");
    }
}

static const struct {
    const char *name;
    void (*fn)(uint32_t n);
    uint32_t n;
} all[] = {
    { "interrupt", interrupt, 1000000 },
    { "pagefault", pagefault, 200000 },
    { "tlbrefill", tlbrefill, 3200000 },
    { "port", port, 3000000 },
    { "smc", smc, 100000 },
    { "codestore", codestore, 2000000 },
    { "pushf", pushf, 5000000 },
};

static void say(const char *what, unsigned i)
{
    put(what);
    put(all[i].name);
    put(" ");
    put_number(all[i].n);
    put("\r\n");
}

int main(void)
{
    struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) idtr = { sizeof(idt) - 1, (uint64_t)(uintptr_t)idt };
    set_gate(0x40, on_interrupt);
    set_gate(14, on_page_fault);
    __asm__ volatile("lidt %0" ::"m"(idtr));
    for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        say("begin ", i);
        all[i].fn(all[i].n);
        say("end ", i);
    }
    put("all done\r\n");
    return 0;
}
