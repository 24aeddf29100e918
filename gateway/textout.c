/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "gateway/textout.h"

#include <langinfo.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static void
add_cell(struct table *table, const char *text)
{
	char **cells = realloc(table->cells, (table->ncells + 1) * sizeof(*cells));

	if (!cells)
		return;
	table->cells = cells;
	cells[table->ncells] = strdup(text ? text : "");
	if (cells[table->ncells])
		table->ncells++;
}

void
table_init(struct table *table, const char *const *headings, unsigned right)
{
	memset(table, 0, sizeof(*table));
	table->right = right;
	while (headings[table->columns] && table->columns < TABLE_COLUMNS_MAX)
		add_cell(table, headings[table->columns++]);
}

void
table_row(struct table *table, ...)
{
	va_list ap;

	va_start(ap, table);
	for (unsigned i = 0; i < table->columns; i++)
		add_cell(table, va_arg(ap, const char *));
	va_end(ap);
}

/* Columns on the screen of UTF-8 text: bytes that begin a character. */
static int
screen_width(const char *text)
{
	int n = 0;

	for (; *text; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

void
table_print(struct table *table, FILE *out)
{
	int width[TABLE_COLUMNS_MAX] = {0};

	for (size_t i = 0; i < table->ncells; i++) {
		int w = screen_width(table->cells[i]);

		if (w > width[i % table->columns])
			width[i % table->columns] = w;
	}
	for (size_t i = 0; i < table->ncells; i++) {
		unsigned col = (unsigned)(i % table->columns);
		bool right = table->right >> col & 1, last = col + 1 == table->columns;
		int pad = width[col] - screen_width(table->cells[i]);

		fprintf(out, "%*s%s%*s%s", right ? pad : 0, "", table->cells[i], right || last ? 0 : pad, "",
			last ? "\n" : "  ");
	}
}

void
table_fini(struct table *table)
{
	for (size_t i = 0; i < table->ncells; i++)
		free(table->cells[i]);
	free(table->cells);
	memset(table, 0, sizeof(*table));
}

bool
color_wanted(const char *when, FILE *out)
{
	const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");

	if (when && !strcmp(when, "always"))
		return true;
	if ((when && !strcmp(when, "never")) || (no_color && *no_color) || (term && !strcmp(term, "dumb")))
		return false;
	return isatty(fileno(out));
}

unsigned
terminal_width(FILE *out)
{
	const char *columns = getenv("COLUMNS");
	struct winsize size;
	long n = columns ? strtol(columns, NULL, 10) : 0;

	if (n > 0 && n < 10000)
		return (unsigned)n;
	if (!ioctl(fileno(out), TIOCGWINSZ, &size) && size.ws_col)
		return size.ws_col;
	return 80;
}

bool
terminal_utf8(void)
{
	return !strcmp(nl_langinfo(CODESET), "UTF-8");
}
