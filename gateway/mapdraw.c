/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "gateway/mapdraw.h"

#include "common/util.h"

#define OFFSET_COLUMN 12 /* "1023.9 GiB  " */

static const struct {
	const char *ascii, *utf8, *color, *legend;
} marks[MAP_MARKS] = {
	[MAP_EMPTY] = {".", "\u00b7", "\033[2m", "empty (reads as zeroes, costs nothing)"},
	[MAP_FEW] = {"-", "\u2591", "\033[36m", "less than half of its chunks are there"},
	[MAP_MANY] = {"+", "\u2592", "\033[36m", "half of them or more"},
	[MAP_FULL] = {"#", "\u2588", "\033[32m", "all of them, in the store"},
	[MAP_DIRTY] = {"*", "\u25c6", "\033[33m", "some are newer in the journal than in the store"},
};

enum map_mark
mapdraw_mark(const struct map_cell *cell)
{
	if (cell->dirty)
		return MAP_DIRTY;
	if (!cell->clean)
		return MAP_EMPTY;
	if (cell->clean >= cell->chunks)
		return MAP_FULL;
	return cell->clean >= cell->chunks - cell->clean ? MAP_MANY : MAP_FEW;
}

unsigned
mapdraw_cells(unsigned width)
{
	unsigned room = width > OFFSET_COLUMN + 8 ? width - OFFSET_COLUMN : 8;

	/* a multiple of eight is easier to count along */
	return min_of(room & ~7u, 128u);
}

static void
print_mark(FILE *out, enum map_mark mark, const struct map_style *style)
{
	const char *text = style->utf8 ? marks[mark].utf8 : marks[mark].ascii;

	if (style->color)
		fprintf(out, "%s%s\033[0m", marks[mark].color, text);
	else
		fputs(text, out);
}

static void
print_legend(FILE *out, const struct map_cell *cells, size_t n, const struct map_style *style)
{
	size_t count[MAP_MARKS] = {0};

	for (size_t i = 0; i < n; i++)
		count[mapdraw_mark(&cells[i])]++;
	for (unsigned i = 0; i < MAP_MARKS; i++) {
		fputs("  ", out);
		print_mark(out, (enum map_mark)i, style);
		fprintf(out, "  %-50s %zu %s\n", marks[i].legend, count[i], count[i] == 1 ? "cell" : "cells");
	}
}

void
mapdraw_print(FILE *out, const struct map_cell *cells, size_t n, const struct map_style *style)
{
	unsigned columns = mapdraw_cells(style->width);
	char text[16];

	for (size_t i = 0; i < n; i++) {
		if (i % columns == 0)
			fprintf(out, "%10s  ",
				size_format(cells[i].first * style->chunk_size, text, sizeof(text)));
		print_mark(out, mapdraw_mark(&cells[i]), style);
		if (i % columns == columns - 1 || i + 1 == n)
			fputc('\n', out);
	}
	fputc('\n', out);
	print_legend(out, cells, n, style);
}
