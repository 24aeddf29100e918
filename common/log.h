/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Logging: one line an event, to stderr, or with a priority prefix that
 * journald reads when stderr is its stream ($JOURNAL_STREAM).  Peer-supplied bytes are escaped:
 * a line of ours is always one line.  Secrets are never passed here.
 *
 * Threads: any.  A line is one write(2); nothing is held across it.
 */
#ifndef LUNGATE_COMMON_LOG_H
#define LUNGATE_COMMON_LOG_H

#include <stdatomic.h>
#include <stdbool.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/** Lines above it are not written.  May change while threads log. */
extern _Atomic int log_threshold;

/** Parse "error", "warn", "info", "debug"; 0 or -EINVAL. */
int log_set_level(const char *name);

/** Choose the sink once, before the first thread starts. */
void log_init(void);

void log_write(enum log_level level, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/** True at most once per interval_ms for one *state: for events that a peer or
 *  a full disk can cause without bound.  *state starts as 0. */
bool log_ratelimit(_Atomic unsigned long long *state, unsigned interval_ms);

#define log_at(level, ...)                                                     \
	do {                                                                   \
		if ((int)(level) <= atomic_load_explicit(&log_threshold, memory_order_relaxed)) \
			log_write((level), __VA_ARGS__);                       \
	} while (0)
#define log_error(...) log_at(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...) log_at(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...) log_at(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_at(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
