/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "stores/object/s3/ini.h"

#include <string.h>

static bool
space(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

static void
trim(const char **p, size_t *n)
{
	while (*n && space(**p)) {
		(*p)++;
		(*n)--;
	}
	while (*n && space((*p)[*n - 1]))
		(*n)--;
}

static bool
same(const char *p, size_t n, const char *word)
{
	return strlen(word) == n && !memcmp(p, word, n);
}

/* "[name]" or "[profile name]" */
static bool
is_section(const char *p, size_t n, const char *section)
{
	if (n < 2 || p[n - 1] != ']')
		return false;
	p++;
	n -= 2;
	trim(&p, &n);
	if (n > 8 && !memcmp(p, "profile", 7) && space(p[7])) {
		p += 8;
		n -= 8;
		trim(&p, &n);
	}
	return same(p, n, section);
}

bool
s3_ini_get(const char *text, const char *section, const char *name, char *out, size_t room)
{
	bool inside = false, found = false;

	out[0] = '\0';
	while (*text) {
		size_t n = strcspn(text, "\n"), k;
		const char *line = text, *value;
		size_t nvalue;

		text += n + (text[n] == '\n');
		k = n;
		if (n && space(line[0]))
			continue; /* the body of a nested setting */
		trim(&line, &k);
		if (!k || *line == '#' || *line == ';')
			continue;
		if (*line == '[') {
			inside = is_section(line, k, section);
			continue;
		}
		value = memchr(line, '=', k);
		if (!inside || !value)
			continue;
		nvalue = k - (size_t)(value + 1 - line);
		k = (size_t)(value - line);
		value++;
		trim(&line, &k);
		trim(&value, &nvalue);
		if (!same(line, k, name))
			continue;
		found = nvalue < room;
		if (found)
			memcpy(out, value, nvalue);
		out[found ? nvalue : 0] = '\0';
	}
	return found;
}
