/* SPDX-License-Identifier: MIT */
/* The ACPI tables: what the loader script does with them, and what iasl thinks of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "dm/base/bytes.h"
#include "dm/base/util.h"
#include "hw/acpi/aml.h"
#include "hw/acpi/tables.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TABLES_AT 0x7fe0000u
#define RSDP_AT 0xf5a50u

static const struct acpi_config big = { .cpus = 3,
                                        .max_cpus = 64,
                                        .pm_base = 0xb000,
                                        .below_4g = 0xc0000000,
                                        .above_4g = 1ull << 32,
                                        .hpet = true,
                                        .serials = 5,
                                        .floppy = true };

static struct state_buf *file_of(struct acpi_files *f, const uint8_t *name, uint32_t *at)
{
    bool is_rsdp = strcmp((const char *)name, "etc/acpi/rsdp") == 0;
    assert_true(is_rsdp || strcmp((const char *)name, "etc/acpi/tables") == 0);
    *at = is_rsdp ? RSDP_AT : TABLES_AT;
    return is_rsdp ? &f->rsdp : &f->tables;
}

/* What firmware does with the script. */
static void run_loader(struct acpi_files *f)
{
    assert_int_equal(f->loader.len % 128, 0);
    for (size_t i = 0; i < f->loader.len; i += 128) {
        const uint8_t *p = f->loader.p + i + 4;
        uint32_t type = load_le32(p - 4), at, to;
        struct state_buf *b = file_of(f, p, &at);
        if (type == 2) {
            uint32_t off = load_le32(p + 112), size = p[116];
            (void)file_of(f, p + 56, &to);
            assert_true(off + size <= b->len);
            store_le(b->p + off, size, load_le(b->p + off, size) + to);
        } else if (type == 3) {
            uint32_t sum_at = load_le32(p + 56), start = load_le32(p + 60), n = load_le32(p + 64);
            uint8_t sum = 0;
            assert_true(start + n <= b->len && sum_at < b->len && b->p[sum_at] == 0);
            for (uint32_t k = 0; k < n; k++) {
                sum = (uint8_t)(sum + b->p[start + k]);
            }
            b->p[sum_at] = (uint8_t)-sum;
        } else {
            assert_int_equal(type, 1);
        }
    }
}

static void free_files(struct acpi_files *f)
{
    free(f->rsdp.p);
    free(f->tables.p);
    free(f->loader.p);
}

static bool sums_to_zero(const uint8_t *p, size_t n)
{
    uint8_t sum = 0;
    while (n--) {
        sum = (uint8_t)(sum + *p++);
    }
    return sum == 0;
}

static uint8_t *table_at(struct acpi_files *f, uint64_t gpa, const char *signature)
{
    uint8_t *t = f->tables.p + (gpa - TABLES_AT);
    assert_true(gpa >= TABLES_AT && gpa - TABLES_AT < f->tables.len);
    assert_memory_equal(t, signature, 4);
    assert_true(sums_to_zero(t, load_le32(t + 4)));
    return t;
}

/* The listed table with this signature, through the XSDT. */
static uint8_t *listed(struct acpi_files *f, const char *signature)
{
    uint8_t *xsdt = table_at(f, load_le64(f->rsdp.p + 24), "XSDT");
    for (uint32_t i = 36; i < load_le32(xsdt + 4); i += 8) {
        uint64_t gpa = load_le64(xsdt + i);
        if (memcmp(f->tables.p + (gpa - TABLES_AT), signature, 4) == 0) {
            return table_at(f, gpa, signature);
        }
    }
    return NULL;
}

static void test_acpi_when_loaded_then_all_tables_are_reached_and_sum_to_zero(void **state)
{
    struct acpi_files f;
    (void)state;
    acpi_build(&big, &f);
    run_loader(&f);
    assert_true(sums_to_zero(f.rsdp.p, 20));
    assert_true(sums_to_zero(f.rsdp.p, 36));
    uint8_t *rsdt = table_at(&f, load_le32(f.rsdp.p + 16), "RSDT");
    uint8_t *xsdt = table_at(&f, load_le64(f.rsdp.p + 24), "XSDT");
    assert_int_equal((load_le32(rsdt + 4) - 36) / 4, (load_le32(xsdt + 4) - 36) / 8);
    uint8_t *fadt = listed(&f, "FACP");
    assert_non_null(fadt);
    assert_int_equal(load_le32(fadt + 4), 116);
    assert_int_equal(load_le32(fadt + 36) % 64, 0);
    assert_memory_equal(f.tables.p + (load_le32(fadt + 36) - TABLES_AT), "FACS", 4);
    (void)table_at(&f, load_le32(fadt + 40), "DSDT");
    assert_int_equal(load_le32(fadt + 56), 0xb000);
    assert_int_equal(load_le32(fadt + 76), 0xb008);
    assert_int_equal(fadt[108], 0x32); /* century */
    assert_non_null(listed(&f, "WAET"));
    assert_non_null(listed(&f, "HPET"));
    free_files(&f);
}

static void test_acpi_when_cpus_are_absent_then_madt_lists_them_disabled(void **state)
{
    struct acpi_files f;
    unsigned on = 0, all = 0, overrides = 0;
    (void)state;
    acpi_build(&big, &f);
    run_loader(&f);
    uint8_t *madt = listed(&f, "APIC");
    for (uint32_t i = 44; i < load_le32(madt + 4); i += madt[i + 1]) {
        assert_true(madt[i + 1] >= 2);
        all += madt[i] == 0;
        on += madt[i] == 0 && (madt[i + 4] & 1);
        overrides += madt[i] == 2;
    }
    assert_int_equal(all, 64);
    assert_int_equal(on, 3);
    assert_int_equal(overrides, 5);
    free_files(&f);
}

static void test_acpi_when_no_hpet_then_no_table_and_pm_base_keeps_the_length(void **state)
{
    struct acpi_config c = big;
    struct acpi_files a, b;
    (void)state;
    c.hpet = false;
    acpi_build(&c, &a);
    c.pm_base = 0x600;
    acpi_build(&c, &b);
    assert_int_equal(a.tables.len, b.tables.len);
    run_loader(&a);
    assert_null(listed(&a, "HPET"));
    free_files(&a);
    free_files(&b);
}

/* Lengths around the steps of PkgLength's encoding. */
static void test_aml_when_package_grows_then_length_counts_itself(void **state)
{
    static const size_t sizes[] = { 1, 61, 62, 63, 64, 4000, 4092, 4093, 4094, 5000 };
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
        struct aml a = { 0 };
        aml_if(&a);
        for (size_t n = 0; n < sizes[i]; n++) {
            aml_op(&a, AML_ONE);
        }
        aml_end(&a);
        const uint8_t *p = a.out.p + 1;
        unsigned extra = p[0] >> 6;
        size_t len = extra ? p[0] & 15u : p[0];
        for (unsigned k = 1; k <= extra; k++) {
            len |= (size_t)p[k] << (4 + 8 * (k - 1));
        }
        assert_int_equal(len, a.out.len - 1);
        assert_int_equal(len - 1 - extra, sizes[i]);
        free(a.out.p);
    }
}

static void test_aml_when_path_has_parts_then_prefix_says_how_many(void **state)
{
    static const uint8_t want[] = "\\_SB_"
                                  "\x2e"
                                  "PCI0ISA_"
                                  "\x2f\x03"
                                  "A___B___C___^X___";
    struct aml a = { 0 };
    (void)state;
    aml_path(&a, "\\_SB");
    aml_path(&a, "PCI0.ISA");
    aml_path(&a, "A.B.C");
    aml_path(&a, "^X");
    assert_int_equal(a.out.len, sizeof(want) - 1);
    assert_memory_equal(a.out.p, want, sizeof(want) - 1);
    free(a.out.p);
}

/* The second opinion: Intel's compiler takes the DSDT apart and puts it together without complaint.
 * Skipped where acpica-tools is not installed. */
static void test_acpi_when_iasl_reads_the_dsdt_then_it_compiles_again(void **state)
{
    char dir[] = "/tmp/keel-acpi-XXXXXX", command[512];
    struct acpi_files f;
    (void)state;
    if (system("command -v iasl >/dev/null 2>&1") != 0) {
        skip();
    }
    assert_non_null(mkdtemp(dir));
    acpi_build(&big, &f);
    run_loader(&f);
    static const char *const names[] = { "DSDT", "FACP", "APIC", "HPET", "WAET" };
    uint8_t *fadt = listed(&f, "FACP");
    for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
        uint8_t *t = i ? listed(&f, names[i]) : table_at(&f, load_le32(fadt + 40), "DSDT");
        snprintf(command, sizeof(command), "%s/%s.dat", dir, names[i]);
        FILE *out = fopen(command, "wb");
        assert_non_null(out);
        assert_int_equal(fwrite(t, 1, load_le32(t + 4), out), load_le32(t + 4));
        fclose(out);
    }
    snprintf(command, sizeof(command),
             "cd %s && iasl -d DSDT.dat FACP.dat APIC.dat HPET.dat WAET.dat >log 2>&1 && "
             "iasl -p again -oa DSDT.dsl >>log 2>&1 && grep -q ' 0 Errors' log",
             dir);
    int rc = system(command);
    if (rc != 0) {
        snprintf(command, sizeof(command), "grep -iE 'error|warning' -A3 %s/log | tail -60", dir);
        (void)!system(command);
    }
    assert_int_equal(rc, 0);
    snprintf(command, sizeof(command), "! grep -iE '^(error|warning) ' %s/log | grep -v ' 3168 '",
             dir);
    assert_int_equal(system(command), 0);
    snprintf(command, sizeof(command), "rm -r %s", dir);
    assert_int_equal(system(command), 0);
    free_files(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_acpi_when_loaded_then_all_tables_are_reached_and_sum_to_zero),
        cmocka_unit_test(test_acpi_when_cpus_are_absent_then_madt_lists_them_disabled),
        cmocka_unit_test(test_acpi_when_no_hpet_then_no_table_and_pm_base_keeps_the_length),
        cmocka_unit_test(test_aml_when_package_grows_then_length_counts_itself),
        cmocka_unit_test(test_aml_when_path_has_parts_then_prefix_says_how_many),
        cmocka_unit_test(test_acpi_when_iasl_reads_the_dsdt_then_it_compiles_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
