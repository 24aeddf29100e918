/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "common/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/util.h"

_Atomic int log_threshold = LOG_LEVEL_INFO;

static const struct {
	const char *name;
	const char *journal_prefix; /* sd-daemon(3) */
} levels[] = {
	[LOG_LEVEL_ERROR] = {"error", "<3>"},
	[LOG_LEVEL_WARN] = {"warn", "<4>"},
	[LOG_LEVEL_INFO] = {"info", "<6>"},
	[LOG_LEVEL_DEBUG] = {"debug", "<7>"},
};

static bool to_journal;

int
log_set_level(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(levels); i++) {
		if (strcmp(levels[i].name, name) == 0) {
			log_threshold = (int)i;
			return 0;
		}
	}
	return -EINVAL;
}

void
log_init(void)
{
	to_journal = getenv("JOURNAL_STREAM") != NULL;
}

static size_t
put_stamp(char *line, size_t len, enum log_level level)
{
	struct timespec ts;
	struct tm tm;
	int n;

	if (to_journal) {
		n = snprintf(line, len, "%s", levels[level].journal_prefix);
		return n < 0 ? 0 : (size_t)n;
	}
	clock_gettime(CLOCK_REALTIME, &ts);
	gmtime_r(&ts.tv_sec, &tm);
	n = snprintf(line, len, "%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ %-5s ", tm.tm_year + 1900,
		     tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, ts.tv_nsec / 1000000,
		     levels[level].name);
	return n < 0 ? 0 : (size_t)n;
}

/* A newline or an escape sequence in a peer's name must not become a line, or a colour, of ours. */
static size_t
put_escaped(char *line, size_t pos, size_t len, const char *text)
{
	static const char hex[] = "0123456789abcdef";

	for (; *text && pos + 5 < len; text++) {
		unsigned char c = (unsigned char)*text;

		if (c >= 0x20 && c != 0x7f) {
			line[pos++] = (char)c;
			continue;
		}
		line[pos++] = '\\';
		line[pos++] = 'x';
		line[pos++] = hex[c >> 4];
		line[pos++] = hex[c & 15];
	}
	return pos;
}

void
log_write(enum log_level level, const char *fmt, ...)
{
	char text[2048], line[4096];
	va_list ap;
	size_t n;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap); /* a cut line is still a line */
	va_end(ap);
	n = put_stamp(line, sizeof(line), level);
	n = put_escaped(line, n, sizeof(line), text);
	line[n++] = '\n';
	while (write(STDERR_FILENO, line, n) < 0 && errno == EINTR)
		;
}

bool
log_ratelimit(_Atomic unsigned long long *state, unsigned interval_ms)
{
	unsigned long long now = clock_ns() / 1000000 + 1;
	unsigned long long last = atomic_load_explicit(state, memory_order_relaxed);

	if (last && now - last < interval_ms)
		return false;
	return atomic_compare_exchange_strong(state, &last, now);
}
