/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "common/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct err_row {
	int code;
	const char *name;
	enum err_class class;
	int sys;
	const char *text;
} rows[] = {
#define ERR_CLASS_retry ERR_CLASS_RETRY
#define ERR_CLASS_permanent ERR_CLASS_PERMANENT
#define ERR_CLASS_corrupt ERR_CLASS_CORRUPT
#define ERR_CLASS_conflict ERR_CLASS_CONFLICT
#define ERR_CLASS_fenced ERR_CLASS_FENCED
#define ERROR(name, code, class, sys, text) {(code), #name, ERR_CLASS_##class, (sys), (text)},
#include "common/errors.def"
#undef ERROR
};

static const int retry_errnos[] = {EAGAIN,     EINTR,        ENOMEM, EBUSY, ETIMEDOUT,
				   ECONNRESET, ECONNREFUSED, ENOSPC, EDQUOT};

static const struct err_row *
find_row(int err)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (rows[i].code == err)
			return &rows[i];
	return NULL;
}

const char *
err_name(int err)
{
	const struct err_row *row = find_row(err);
	const char *name;

	if (row)
		return row->name;
	if (err == 0)
		return "ok";
	name = err < 0 && err > -4096 ? strerrorname_np(-err) : NULL;
	return name ? name : "EUNKNOWN";
}

const char *
err_text(int err)
{
	const struct err_row *row = find_row(err);
	const char *text;

	if (row)
		return row->text;
	if (err == 0)
		return "success";
	text = err < 0 && err > -4096 ? strerrordesc_np(-err) : NULL;
	return text ? text : "unknown error";
}

enum err_class
err_class(int err)
{
	const struct err_row *row = find_row(err);

	if (row)
		return row->class;
	if (err == 0)
		return ERR_CLASS_NONE;
	for (size_t i = 0; i < sizeof(retry_errnos) / sizeof(retry_errnos[0]); i++)
		if (retry_errnos[i] == -err)
			return ERR_CLASS_RETRY;
	return ERR_CLASS_PERMANENT;
}

int
err_errno(int err)
{
	const struct err_row *row = find_row(err);

	if (row)
		return row->sys;
	if (err == 0)
		return 0;
	return err < 0 && err > -4096 ? -err : EIO;
}

int
err_set(struct errinfo *info, int err, const char *fmt, ...)
{
	va_list ap;

	if (!info)
		return err;
	va_start(ap, fmt);
	(void)vsnprintf(info->text, sizeof(info->text), fmt, ap); /* cut words are better than none */
	va_end(ap);
	return err;
}

const char *
err_words(const struct errinfo *info, int err)
{
	return info->text[0] ? info->text : err_text(err);
}

void
err_prefix(struct errinfo *info, const char *fmt, ...)
{
	char tail[sizeof(info->text)];
	va_list ap;
	int n;

	if (!info)
		return;
	memcpy(tail, info->text, sizeof(tail));
	va_start(ap, fmt);
	n = vsnprintf(info->text, sizeof(info->text), fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= sizeof(info->text))
		return;
	(void)snprintf(info->text + n, sizeof(info->text) - (size_t)n, "%s", tail);
}
