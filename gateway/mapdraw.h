/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The chunk map drawn with characters, one cell for a range of chunks.
 *
 * Threads: any (pure).
 */
#ifndef LUNGATE_GATEWAY_MAPDRAW_H
#define LUNGATE_GATEWAY_MAPDRAW_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum map_mark { MAP_EMPTY, MAP_FEW, MAP_MANY, MAP_FULL, MAP_DIRTY, MAP_MARKS };

struct map_cell {
	uint64_t first, chunks;      /* the range it stands for */
	uint64_t clean, dirty;       /* of these, in the store; with newer bytes in the journal */
};

struct map_style {
	unsigned width;              /* columns of the screen */
	bool color, utf8;
	uint64_t chunk_size;
};

enum map_mark mapdraw_mark(const struct map_cell *cell);
/** Cells that fit into a line of that width, behind the offset column. */
unsigned mapdraw_cells(unsigned width);
void mapdraw_print(FILE *out, const struct map_cell *cells, size_t n, const struct map_style *style);

#endif
