/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Armed points are written once, by failpoint_arm() before the threads that
 * pass them start (or between phases of a test); only the pass counters change afterwards.
 */
#include "common/failpoint.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/log.h"
#include "common/util.h"

#ifdef ENABLE_FAILPOINTS

enum action { ACTION_NONE, ACTION_ERROR, ACTION_SKIP, ACTION_KILL, ACTION_DELAY };

static const char *const names[FP_COUNT] = {
#define FAILPOINT(id, name, text) [FP_##id] = (name),
#include "common/failpoints.def"
#undef FAILPOINT
};

static const struct {
	const char *name;
	int err;
} errors[] = {
#define ERROR(name, code, class, sys, text) {#name, (code)},
#include "common/errors.def"
#undef ERROR
	{"EIO", -EIO},       {"ENOSPC", -ENOSPC}, {"EROFS", -EROFS},         {"EACCES", -EACCES},
	{"ENOENT", -ENOENT}, {"EAGAIN", -EAGAIN}, {"ETIMEDOUT", -ETIMEDOUT}, {"EDQUOT", -EDQUOT},
};

static struct point {
	enum action action;
	int err;
	unsigned delay_ms;
	unsigned long from, times;
	atomic_ulong passes;
} points[FP_COUNT];

int
failpoint_hit(enum failpoint fp)
{
	struct point *p = &points[fp];
	unsigned long pass;

	if (p->action == ACTION_NONE)
		return 0;
	pass = atomic_fetch_add(&p->passes, 1) + 1;
	if (pass < p->from || (p->times && pass >= p->from + p->times))
		return 0;
	log_debug("failpoint %s: pass %lu", names[fp], pass);
	switch (p->action) {
	case ACTION_ERROR:
		return p->err;
	case ACTION_SKIP:
		return FAILPOINT_SKIP;
	case ACTION_KILL:
		raise(SIGKILL);
		break;
	case ACTION_DELAY:
		nanosleep(&(struct timespec){p->delay_ms / 1000, (p->delay_ms % 1000) * 1000000L}, NULL);
		break;
	case ACTION_NONE:
		break;
	}
	return 0;
}

static int
parse_action(char *text, struct point *p)
{
	char *arg = strchr(text, ':');

	if (arg)
		*arg++ = '\0';
	if (strcmp(text, "off") == 0) {
		p->action = ACTION_NONE;
		return 0;
	}
	if (strcmp(text, "skip") == 0 || strcmp(text, "kill") == 0) {
		p->action = text[0] == 's' ? ACTION_SKIP : ACTION_KILL;
		return arg ? -EINVAL : 0;
	}
	if (!arg)
		return -EINVAL;
	if (strcmp(text, "delay") == 0) {
		p->action = ACTION_DELAY;
		p->delay_ms = (unsigned)strtoul(arg, &arg, 10);
		return *arg ? -EINVAL : 0;
	}
	if (strcmp(text, "err") != 0)
		return -EINVAL;
	for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
		if (strcmp(errors[i].name, arg) == 0) {
			p->action = ACTION_ERROR;
			p->err = errors[i].err;
			return 0;
		}
	}
	return -EINVAL;
}

static int
parse_count(char *text, char mark, unsigned long *ret)
{
	char *at = strchr(text, mark), *end;

	if (!at)
		return 0;
	*at++ = '\0';
	*ret = strtoul(at, &end, 10);
	return end == at || *end || !*ret ? -EINVAL : 0;
}

static int
arm_one(char *text, struct errinfo *info)
{
	char *value = strchr(text, '=');
	struct point *p = NULL;
	unsigned long from = 1, times = 0;

	if (!value)
		return err_set(info, -EINVAL, "failpoint \"%s\": expected NAME=ACTION[*N][@K]", text);
	*value++ = '\0';
	for (size_t i = 0; i < FP_COUNT; i++)
		if (strcmp(names[i], text) == 0)
			p = &points[i];
	if (!p)
		return err_set(info, -ENOENT, "failpoint \"%s\" is not in failpoints.def", text);
	if (parse_count(value, '@', &from) < 0 || parse_count(value, '*', &times) < 0 ||
	    parse_action(value, p) < 0)
		return err_set(
			info, -EINVAL,
			"failpoint \"%s\": the action is one of err:NAME, skip, kill, delay:MS, off; then *N, @K",
			text);
	p->from = from;
	p->times = times;
	atomic_store(&p->passes, 0);
	return 0;
}

int
failpoint_arm(const char *spec, struct errinfo *info)
{
	char *copy = strdup(spec), *at, *save = NULL;
	int rc = 0;

	if (!copy)
		return -ENOMEM;
	for (at = strtok_r(copy, ";", &save); at && rc == 0; at = strtok_r(NULL, ";", &save))
		rc = arm_one(at, info);
	free(copy);
	return rc;
}

#else

int
failpoint_arm(const char *spec, struct errinfo *info)
{
	(void)spec;
	return err_set(info, -ENOTSUP, "this build has no failpoints: configure with --enable-failpoints");
}

#endif
