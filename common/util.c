/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "common/util.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

uint64_t
clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

void
random_bytes(void *p, size_t n)
{
	uint8_t *at = p;

	while (n) {
		ssize_t got = getrandom(at, n, 0);

		if (got < 0) {
			if (errno == EINTR)
				continue;
			abort(); /* no randomness: identities and nonces would repeat */
		}
		at += got;
		n -= (size_t)got;
	}
}

void
uuid_make(uint8_t uuid[UUID_LEN])
{
	random_bytes(uuid, UUID_LEN);
	uuid[6] = (uint8_t)((uuid[6] & 0x0f) | 0x40); /* RFC 9562 5.4: version 4 */
	uuid[8] = (uint8_t)((uuid[8] & 0x3f) | 0x80); /* variant */
}

static bool
dash_before(unsigned byte)
{
	return byte == 4 || byte == 6 || byte == 8 || byte == 10;
}

void
utc_format(int64_t unix_s, char text[UTC_TEXT])
{
	time_t when = (time_t)unix_s;
	struct tm tm;

	if (!gmtime_r(&when, &tm) || !strftime(text, UTC_TEXT, "%Y-%m-%dT%H:%M:%SZ", &tm))
		text[0] = '\0';
}

char *
hex_format(const void *p, size_t n, char *text)
{
	static const char digits[] = "0123456789abcdef";
	const uint8_t *bytes = p;

	for (size_t i = 0; i < n; i++) {
		*text++ = digits[bytes[i] >> 4];
		*text++ = digits[bytes[i] & 15];
	}
	*text = '\0';
	return text;
}

void
uuid_format(const uint8_t uuid[UUID_LEN], char text[UUID_TEXT])
{
	for (unsigned i = 0; i < UUID_LEN; i++) {
		if (dash_before(i))
			*text++ = '-';
		text = hex_format(uuid + i, 1, text);
	}
}

int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int
uuid_parse(const char *text, uint8_t uuid[UUID_LEN])
{
	uint8_t out[UUID_LEN];

	for (unsigned i = 0; i < UUID_LEN; i++) {
		int hi, lo;

		if (dash_before(i) && *text++ != '-')
			return -EINVAL;
		hi = hex_digit(text[0]);
		lo = hi < 0 ? -1 : hex_digit(text[1]);
		if (lo < 0)
			return -EINVAL;
		out[i] = (uint8_t)(hi << 4 | lo);
		text += 2;
	}
	if (*text)
		return -EINVAL;
	memcpy(uuid, out, UUID_LEN);
	return 0;
}

/* "K", "KB", "KiB" all mean 1024: what dd, qemu-img and lvm users type. */
static int
unit_shift(const char *unit)
{
	static const char letters[] = "kmgtpe";
	const char *at;
	char first = (char)tolower((unsigned char)unit[0]);

	if (first == '\0' || (first == 'b' && unit[1] == '\0'))
		return 0;
	at = strchr(letters, first);
	if (!at)
		return -1;
	if (unit[1] != '\0' && strcasecmp(unit + 1, "b") != 0 && strcasecmp(unit + 1, "ib") != 0)
		return -1;
	return 10 * (int)(at - letters + 1);
}

int
size_parse(const char *text, uint64_t *ret_bytes)
{
	uint64_t whole = 0, part = 0, scale = 1;
	const char *at = text;
	unsigned __int128 bytes;
	int shift;

	if (!isdigit((unsigned char)*at))
		return -EINVAL;
	for (; isdigit((unsigned char)*at); at++) {
		if (whole > (uint64_t)INT64_MAX / 10)
			return -ERANGE;
		whole = whole * 10 + (uint64_t)(*at - '0');
	}
	if (*at == '.') {
		if (!isdigit((unsigned char)*++at))
			return -EINVAL;
		for (; isdigit((unsigned char)*at); at++) {
			if (scale >= 1000000)
				return -EINVAL;
			part = part * 10 + (uint64_t)(*at - '0');
			scale *= 10;
		}
	}
	while (*at == ' ')
		at++;
	shift = unit_shift(at);
	if (shift < 0 || (scale > 1 && shift == 0))
		return -EINVAL;
	bytes = ((unsigned __int128)whole << shift) + ((unsigned __int128)part << shift) / scale;
	if (bytes > INT64_MAX)
		return -ERANGE;
	*ret_bytes = (uint64_t)bytes;
	return 0;
}

const char *
size_exact(uint64_t bytes, char buf[SIZE_EXACT])
{
	static const char letters[] = "KMGTPE";
	unsigned unit = 0;

	while (bytes && unit < sizeof(letters) - 1 && bytes % 1024 == 0) {
		bytes /= 1024;
		unit++;
	}
	if (unit)
		(void)snprintf(buf, SIZE_EXACT, "%llu%c", (unsigned long long)bytes, letters[unit - 1]);
	else
		(void)snprintf(buf, SIZE_EXACT, "%llu", (unsigned long long)bytes);
	return buf;
}

const char *
size_format(uint64_t bytes, char *buf, size_t len)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	double value = (double)bytes;
	size_t unit = 0;

	while (value >= 1024 && unit + 1 < ARRAY_SIZE(units)) {
		value /= 1024;
		unit++;
	}
	(void)snprintf(buf, len, unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
	return buf;
}
