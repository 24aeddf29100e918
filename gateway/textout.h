/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Output for people: tables with columns as wide as they need, colours on a terminal only.
 *
 * Threads: a command's main thread.
 */
#ifndef LUNGATE_GATEWAY_TEXTOUT_H
#define LUNGATE_GATEWAY_TEXTOUT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define TABLE_COLUMNS_MAX 10

struct table {
	unsigned columns;
	char **cells;                /* rows * columns; the first row is the headings */
	size_t ncells;
	unsigned right;              /* bit i: column i is flush right */
};

/** headings: NULL-terminated. */
void table_init(struct table *table, const char *const *headings, unsigned right);
/** As many texts as there are columns. */
void table_row(struct table *table, ...);
void table_print(struct table *table, FILE *out);
void table_fini(struct table *table);

/** when: "auto", "always", "never" or NULL (auto); $NO_COLOR is honoured. */
bool color_wanted(const char *when, FILE *out);
/** Columns of the terminal at out, $COLUMNS, or 80. */
unsigned terminal_width(FILE *out);
/** True where the locale writes UTF-8. */
bool terminal_utf8(void);

#endif
