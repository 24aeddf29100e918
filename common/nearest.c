/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "common/nearest.h"

#include <string.h>

#include "common/util.h"

/* Names of targets are the longest words that people mistype. */
#define WORD_MAX 224

/* Optimal string alignment distance: insert, delete, replace, swap of neighbours. */
static unsigned
distance(const char *a, const char *b)
{
	unsigned row[3][WORD_MAX + 1];
	size_t la = strlen(a), lb = strlen(b);

	if (la > WORD_MAX || lb > WORD_MAX)
		return WORD_MAX;
	for (size_t j = 0; j <= lb; j++)
		row[1][j] = (unsigned)j;
	for (size_t i = 1; i <= la; i++) {
		unsigned *cur = row[(i + 1) % 3], *prev = row[i % 3], *prev2 = row[(i + 2) % 3];

		cur[0] = (unsigned)i;
		for (size_t j = 1; j <= lb; j++) {
			unsigned cost = a[i - 1] != b[j - 1];
			unsigned best = min_of(prev[j] + 1, cur[j - 1] + 1);

			best = min_of(best, prev[j - 1] + cost);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				best = min_of(best, prev2[j - 2] + 1);
			cur[j] = best;
		}
	}
	return row[(la + 1) % 3][lb];
}

const char *
nearest_word(const char *word, const void *words, size_t n, size_t stride)
{
	const char *best = NULL;
	unsigned best_d = WORD_MAX;

	for (size_t i = 0; i < n; i++) {
		const char *known = *(const char *const *)((const char *)words + i * stride);
		unsigned d = distance(word, known);

		/* an abbreviation is near, whatever its distance */
		if (strlen(word) >= 2 && !strncmp(word, known, strlen(word)))
			d = 1;
		if (d < best_d) {
			best = known;
			best_d = d;
		}
	}
	return best && best_d <= 1 + strlen(best) / 4 ? best : NULL;
}
