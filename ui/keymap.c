/* SPDX-License-Identifier: MIT */
/* ui/keymap.c - X11 keysyms, as VNC viewers send them, to PS/2 scan codes of set 1.
 *
 * A viewer says which symbol was typed; the guest wants to know which key was pressed. The two
 * meet in the guest's keyboard layout: `-k` names it. What a layout does not have is looked up in
 * en-us. Symbols are their Unicode code points, which for Latin-1 are the keysyms too; dead keys
 * are given by their keysyms (0xfe50 and up).
 */
#include "ui/vnc.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <wchar.h>

/* The 48 keys that layouts differ in, in this order, for each shift level. */
static const uint8_t typing_keys[] = {
    0x29, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, /* ` 1 ... = */
    0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x1b,       /* q ... ] */
    0x1e, 0x1f, 0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28, 0x2b,       /* a ... ' \ */
    0x56, 0x2c, 0x2d, 0x2e, 0x2f, 0x30, 0x31, 0x32, 0x33, 0x34, 0x35,             /* < z ... / */
};
#define NKEYS (sizeof(typing_keys))

struct layout {
    const char *name;
    const wchar_t *level[3]; /* plain, Shift, AltGr: NKEYS symbols each, or NULL */
};

/* Rows: digits; upper letters; home; lower. */
static const struct layout layouts[] = {
    { "da",
      { L"\u00bd1234567890+\ufe51"
        L"qwertyuiop\u00e5\ufe57"
        L"asdfghjkl\u00e6\u00f8'"
        L"<zxcvbnm,.-",
        L"\u00a7!\"#\u00a4%&/()=?\ufe50"
        L"QWERTYUIOP\u00c5\ufe52"
        L"ASDFGHJKL\u00c6\u00d8*"
        L">ZXCVBNM;:_",
        L"  @\u00a3$\u20ac {[]} |"
        L"  \u20ac        \ufe53"
        L"            "
        L"\\      \u00b5   " } },
    { "de",
      { L"\ufe521234567890\u00df\ufe51"
        L"qwertzuiop\u00fc+"
        L"asdfghjkl\u00f6\u00e4#"
        L"<yxcvbnm,.-",
        L"\u00b0!\"\u00a7$%&/()=?\ufe50"
        L"QWERTZUIOP\u00dc*"
        L"ASDFGHJKL\u00d6\u00c4'"
        L">YXCVBNM;:_",
        L"  \u00b2\u00b3   {[]}\\ "
        L"@ \u20ac        ~"
        L"            "
        L"|      \u00b5   " } },
    { "en-gb",
      { L"`1234567890-="
        L"qwertyuiop[]"
        L"asdfghjkl;'#"
        L"\\zxcvbnm,./",
        L"\u00ac!\"\u00a3$%^&*()_+"
        L"QWERTYUIOP{}"
        L"ASDFGHJKL:@~"
        L"|ZXCVBNM<>?",
        L"\u00a6   \u20ac        "
        L"  \u00e9   \u00fa\u00ed\u00f3   "
        L"\u00e1           "
        L"           " } },
    { "en-us",
      { L"`1234567890-="
        L"qwertyuiop[]"
        L"asdfghjkl;'\\"
        L"<zxcvbnm,./",
        L"~!@#$%^&*()_+"
        L"QWERTYUIOP{}"
        L"ASDFGHJKL:\"|"
        L">ZXCVBNM<>?",
        NULL } },
    { "es",
      { L"\u00ba1234567890'\u00a1"
        L"qwertyuiop\ufe50+"
        L"asdfghjkl\u00f1\ufe51\u00e7"
        L"<zxcvbnm,.-",
        L"\u00aa!\"\u00b7$%&/()=?\u00bf"
        L"QWERTYUIOP\ufe52*"
        L"ASDFGHJKL\u00d1\ufe57\u00c7"
        L">ZXCVBNM;:_",
        L"\\|@#~\u20ac\u00ac      "
        L"  \u20ac       []"
        L"          {}"
        L"           " } },
    { "fi",
      { L"\u00a71234567890+\ufe51"
        L"qwertyuiop\u00e5\ufe57"
        L"asdfghjkl\u00f6\u00e4'"
        L"<zxcvbnm,.-",
        L"\u00bd!\"#\u00a4%&/()=?\ufe50"
        L"QWERTYUIOP\u00c5\ufe52"
        L"ASDFGHJKL\u00d6\u00c4*"
        L">ZXCVBNM;:_",
        L"  @\u00a3$\u20ac {[]}\\ "
        L"  \u20ac        \ufe53"
        L"            "
        L"|      \u00b5   " } },
    { "fr",
      { L"\u00b2&\u00e9\"'(-\u00e8_\u00e7\u00e0)="
        L"azertyuiop\ufe52$"
        L"qsdfghjklm\u00f9*"
        L"<wxcvbn,;:!",
        L" 1234567890\u00b0+"
        L"AZERTYUIOP\ufe57\u00a3"
        L"QSDFGHJKLM%\u00b5"
        L">WXCVBN?./\u00a7",
        L"  ~#{[|`\\^@]}"
        L"  \u20ac        \u00a4"
        L"            "
        L"           " } },
    { "it",
      { L"\\1234567890'\u00ec"
        L"qwertyuiop\u00e8+"
        L"asdfghjkl\u00f2\u00e0\u00f9"
        L"<zxcvbnm,.-",
        L"|!\"\u00a3$%&/()=?^"
        L"QWERTYUIOP\u00e9*"
        L"ASDFGHJKL\u00e7\u00b0\u00a7"
        L">ZXCVBNM;:_",
        L"     \u20ac       "
        L"  \u20ac       []"
        L"         @# "
        L"           " } },
    { "no",
      { L"|1234567890+\\"
        L"qwertyuiop\u00e5\ufe57"
        L"asdfghjkl\u00f8\u00e6'"
        L"<zxcvbnm,.-",
        L"\u00a7!\"#\u00a4%&/()=?\ufe50"
        L"QWERTYUIOP\u00c5\ufe52"
        L"ASDFGHJKL\u00d8\u00c6*"
        L">ZXCVBNM;:_",
        L"  @\u00a3$\u20ac {[]} \ufe51"
        L"  \u20ac        \ufe53"
        L"            "
        L"       \u00b5   " } },
    { "sv",
      { L"\u00a71234567890+\ufe51"
        L"qwertyuiop\u00e5\ufe57"
        L"asdfghjkl\u00f6\u00e4'"
        L"<zxcvbnm,.-",
        L"\u00bd!\"#\u00a4%&/()=?\ufe50"
        L"QWERTYUIOP\u00c5\ufe52"
        L"ASDFGHJKL\u00d6\u00c4*"
        L">ZXCVBNM;:_",
        L"  @\u00a3$\u20ac {[]}\\ "
        L"  \u20ac        \ufe53"
        L"            "
        L"|      \u00b5   " } },
};
#define NLAYOUTS (sizeof(layouts) / sizeof(layouts[0]))
#define EN_US 3

/* Keys that are the same everywhere. Sorted by keysym. */
static const struct {
    uint16_t keysym, code;
} fixed_keys[] = {
    { 0x0020, 0x39 },   { 0xfe03, 0xe038 },                     /* space, AltGr */
    { 0xfe08, 0x38 },                                           /* ISO_Next_Group */
    { 0xfe20, 0x0f },                                           /* ISO_Left_Tab */
    { 0xff08, 0x0e },   { 0xff09, 0x0f },                       /* BackSpace, Tab */
    { 0xff0d, 0x1c },   { 0xff13, 0xe11d },                     /* Return, Pause */
    { 0xff14, 0x46 },   { 0xff15, 0xe037 },                     /* Scroll_Lock, Sys_Req */
    { 0xff1b, 0x01 },                                           /* Escape */
    { 0xff50, 0xe047 }, { 0xff51, 0xe04b }, { 0xff52, 0xe048 }, /* Home, Left, Up */
    { 0xff53, 0xe04d }, { 0xff54, 0xe050 }, { 0xff55, 0xe049 }, /* Right, Down, Page_Up */
    { 0xff56, 0xe051 }, { 0xff57, 0xe04f },                     /* Page_Down, End */
    { 0xff61, 0xe037 }, { 0xff63, 0xe052 },                     /* Print, Insert */
    { 0xff67, 0xe05d }, { 0xff6b, 0xe11d },                     /* Menu, Break */
    { 0xff7e, 0xe038 }, { 0xff7f, 0x45 },                       /* Mode_switch, Num_Lock */
    { 0xff8d, 0xe01c },                                         /* KP_Enter */
    { 0xff95, 0x47 },   { 0xff96, 0x4b },   { 0xff97, 0x48 },   /* KP_Home, KP_Left, KP_Up */
    { 0xff98, 0x4d },   { 0xff99, 0x50 },   { 0xff9a, 0x49 },   /* KP_Right, KP_Down, KP_Page_Up */
    { 0xff9b, 0x51 },   { 0xff9c, 0x4f },   { 0xff9d, 0x4c },   /* KP_Page_Down, KP_End, KP_Begin */
    { 0xff9e, 0x52 },   { 0xff9f, 0x53 },                       /* KP_Insert, KP_Delete */
    { 0xffaa, 0x37 },   { 0xffab, 0x4e },   { 0xffac, 0x53 },   /* KP * + , */
    { 0xffad, 0x4a },   { 0xffae, 0x53 },   { 0xffaf, 0xe035 }, /* KP - . / */
    { 0xffb0, 0x52 },   { 0xffb1, 0x4f },   { 0xffb2, 0x50 },
    { 0xffb3, 0x51 }, /* KP 0 1 2 3 */
    { 0xffb4, 0x4b },   { 0xffb5, 0x4c },   { 0xffb6, 0x4d },
    { 0xffb7, 0x47 },                     /* KP 4 5 6 7 */
    { 0xffb8, 0x48 },   { 0xffb9, 0x49 }, /* KP 8 9 */
    { 0xffbe, 0x3b },   { 0xffbf, 0x3c },   { 0xffc0, 0x3d },
    { 0xffc1, 0x3e }, /* F1 to F4 */
    { 0xffc2, 0x3f },   { 0xffc3, 0x40 },   { 0xffc4, 0x41 },
    { 0xffc5, 0x42 }, /* F5 to F8 */
    { 0xffc6, 0x43 },   { 0xffc7, 0x44 },   { 0xffc8, 0x57 },
    { 0xffc9, 0x58 }, /* F9 to F12 */
    { 0xffe1, 0x2a },   { 0xffe2, 0x36 },   { 0xffe3, 0x1d },
    { 0xffe4, 0xe01d },                     /* Shift, Ctrl */
    { 0xffe5, 0x3a },                       /* Caps_Lock */
    { 0xffe7, 0xe05b }, { 0xffe8, 0xe05c }, /* Meta */
    { 0xffe9, 0x38 },   { 0xffea, 0xe038 }, /* Alt */
    { 0xffeb, 0xe05b }, { 0xffec, 0xe05c }, /* Super */
    { 0xffff, 0xe053 },                     /* Delete */
};

/* Dead keys that viewers also send as the spacing character. */
static unsigned spacing_of(unsigned keysym)
{
    static const uint16_t pair[][2] = {
        { 0xfe50, '`' }, { 0xfe51, 0xb4 }, { 0xfe52, '^' }, { 0xfe53, '~' }, { 0xfe57, 0xa8 }
    };
    for (size_t i = 0; i < sizeof(pair) / sizeof(pair[0]); i++) {
        if (pair[i][0] == keysym) {
            return pair[i][1];
        }
    }
    return 0;
}

static const struct layout *find_layout(const char *name)
{
    for (size_t i = 0; name && i < NLAYOUTS; i++) {
        if (!strcmp(layouts[i].name, name)) {
            return &layouts[i];
        }
    }
    return NULL;
}

bool keymap_known(const char *name)
{
    return find_layout(name) != NULL;
}

const char *const *keymap_names(void)
{
    static const char *const names[] = { "da", "de", "en-gb", "en-us", "es", "fi",
                                         "fr", "it", "no",    "sv",    NULL };
    return names;
}

static unsigned typing_code(const struct layout *l, unsigned keysym)
{
    for (int level = 0; level < 3; level++) {
        for (size_t i = 0; l->level[level] && i < NKEYS; i++) {
            unsigned sym = (unsigned)l->level[level][i];
            if (sym != ' ' && (sym == keysym || spacing_of(sym) == keysym)) {
                return typing_keys[i];
            }
        }
    }
    return 0;
}

unsigned keymap_scancode(const char *keymap, unsigned keysym)
{
    const struct layout *l = find_layout(keymap);
    unsigned code;
    if (keysym == 0) {
        return 0;
    }
    for (size_t i = 0; i < sizeof(fixed_keys) / sizeof(fixed_keys[0]); i++) {
        if (fixed_keys[i].keysym == keysym) {
            return fixed_keys[i].code;
        }
    }
    if (keysym >= 0x1000100 && keysym <= 0x110ffff) {
        keysym -= 0x1000000; /* Unicode keysyms */
    }
    code = l ? typing_code(l, keysym) : 0;
    return code ? code : typing_code(&layouts[EN_US], keysym);
}
