/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fuse/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/util.h"

void
text_init(struct text *text, int dir)
{
	*text = (struct text){.fd = -1, .dir = dir};
}

void
text_fini(struct text *text)
{
	free(text->mem);
	if (text->fd >= 0)
		close(text->fd);
	text_init(text, -1);
}

static int
temp_open(int dir)
{
	char name[64];
	uint64_t r;
	int fd;

	if (dir < 0)
		return -EFBIG;
	fd = openat(dir, ".", O_TMPFILE | O_RDWR | O_EXCL | O_CLOEXEC, 0600);
	if (fd >= 0)
		return fd;
	/* not every file system has O_TMPFILE */
	random_bytes(&r, sizeof(r));
	snprintf(name, sizeof(name), ".lungate-%016llx", (unsigned long long)r);
	fd = openat(dir, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	unlinkat(dir, name, 0);
	return fd;
}

static int
flush(struct text *text)
{
	size_t done = 0;

	while (done < text->len) {
		ssize_t n = write(text->fd, text->mem + done, text->len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -EIO;
		done += (size_t)n;
	}
	text->len = 0;
	return 0;
}

static int
make_room(struct text *text, size_t n)
{
	size_t cap = text->cap ? text->cap : 4096;
	char *mem;

	if (text->len + n <= text->cap)
		return 0;
	if (text->fd < 0 && text->len + n > TEXT_MEMORY) {
		text->fd = temp_open(text->dir);
		if (text->fd < 0)
			return text->fd;
	}
	if (text->fd >= 0) {
		int rc = flush(text);

		if (rc || n <= text->cap)
			return rc;
	}
	while (cap < text->len + n)
		cap *= 2;
	mem = realloc(text->mem, cap);
	if (!mem)
		return -ENOMEM;
	text->mem = mem;
	text->cap = cap;
	return 0;
}

void
text_append(struct text *text, const void *p, size_t n)
{
	if (text->err || !n)
		return;
	text->err = make_room(text, n);
	if (text->err)
		return;
	memcpy(text->mem + text->len, p, n);
	text->len += n;
	text->size += n;
}

void
text_printf(struct text *text, const char *fmt, ...)
{
	char line[1024];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= sizeof(line))
		text->err = text->err ? text->err : -EOVERFLOW;
	else
		text_append(text, line, (size_t)n);
}

int
text_finish(struct text *text)
{
	if (!text->err && text->fd >= 0) {
		text->err = flush(text);
		free(text->mem);
		text->mem = NULL;
		text->cap = 0;
	}
	return text->err;
}
