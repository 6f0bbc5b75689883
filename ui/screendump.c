/* SPDX-License-Identifier: MIT */
/* ui/screendump.c - the screen as a file: binary PPM (P6, 8 bits a sample) or PNG. */
#include "ui/con.h"

#include "dm/base/err.h"
#include "dm/base/util.h"

#include <errno.h>
#include <png.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void row_to_rgb(const struct con *c, unsigned y, uint8_t *rgb)
{
    const uint32_t *row = c->pixels + (size_t)y * c->width;
    for (unsigned x = 0; x < c->width; x++) {
        rgb[3 * x] = (uint8_t)(row[x] >> 16);
        rgb[3 * x + 1] = (uint8_t)(row[x] >> 8);
        rgb[3 * x + 2] = (uint8_t)row[x];
    }
}

static int write_ppm(const struct con *c, FILE *f, uint8_t *rgb)
{
    fprintf(f, "P6\n%u %u\n255\n", c->width, c->height);
    for (unsigned y = 0; y < c->height; y++) {
        row_to_rgb(c, y, rgb);
        if (fwrite(rgb, 3, c->width, f) != c->width) {
            return -EIO;
        }
    }
    return 0;
}

static int write_png(const struct con *c, FILE *f, uint8_t *rgb)
{
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png ? png_create_info_struct(png) : NULL;
    if (!info || setjmp(png_jmpbuf(png))) {
        png_destroy_write_struct(&png, &info);
        return -EIO;
    }
    png_init_io(png, f);
    png_set_IHDR(png, info, c->width, c->height, 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_write_info(png, info);
    for (unsigned y = 0; y < c->height; y++) {
        row_to_rgb(c, y, rgb);
        png_write_row(png, rgb);
    }
    png_write_end(png, info);
    png_destroy_write_struct(&png, &info);
    return 0;
}

int con_screendump(struct con *c, const char *filename, const char *format, struct err *e)
{
    bool png = !strcmp(format, "png");
    uint8_t *rgb;
    FILE *f;
    int ret;
    if (!png && strcmp(format, "ppm") != 0) {
        return err_set(e, -EINVAL, "screendump: format '%s' is not ppm or png", format);
    }
    f = fopen(filename, "we");
    if (!f) {
        return err_set(e, -errno, "screendump: %s: %s", filename, strerror(errno));
    }
    con_refresh(c, true);
    rgb = xcalloc(c->width, 3);
    errno = 0;
    ret = png ? write_png(c, f, rgb) : write_ppm(c, f, rgb);
    free(rgb);
    if (fclose(f) != 0 || ret < 0) {
        return err_set(e, errno ? -errno : -EIO, "screendump: %s: %s", filename,
                       strerror(errno ? errno : EIO));
    }
    return 0;
}
