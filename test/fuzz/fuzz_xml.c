/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Any bytes to the readers of S3's XML.  First byte: which document.  What comes out is
 * bounded and ends in a NUL, whatever went in.
 */
#include <assert.h>
#include <string.h>

#include "common/err.h"
#include "stores/object/s3/xml.h"
#include "test/fuzz/fuzz.h"

static int
on_key(void *arg, const char *key, uint64_t size)
{
	size_t *n = arg;

	(void)size;
	assert(strlen(key) <= 1024);
	(*n)++;
	return 0;
}

static int
on_error(void *arg, const char *key, const char *code, const char *message)
{
	size_t *n = arg;

	*n += strlen(key) + strlen(code) + strlen(message);
	return 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct s3_list_doc list;
	static struct s3_sts_doc sts;
	size_t count = 0;
	struct s3_delete_doc del = {on_error, &count};
	struct s3_error_doc err;
	const char *p = (const char *)data + 1;
	int rc = 0;

	if (!size)
		return 0;
	list.on_key = on_key;
	list.arg = &count;
	switch (data[0] % 5) {
	case 0:
		rc = s3_xml_list(p, size - 1, &list, &err);
		assert(memchr(list.token, '\0', sizeof(list.token)));
		break;
	case 1:
		rc = s3_xml_delete(p, size - 1, &del, &err);
		break;
	case 2:
		rc = s3_xml_sts(p, size - 1, &sts, &err);
		assert(memchr(sts.token, '\0', sizeof(sts.token)));
		break;
	case 3:
		rc = s3_xml_copy(p, size - 1, &err);
		break;
	default:
		rc = s3_xml_error(p, size - 1, &err);
		break;
	}
	assert(rc == 0 || rc == 1 || rc == LG_EPROTO);
	assert(memchr(err.code, '\0', sizeof(err.code)) && memchr(err.message, '\0', sizeof(err.message)));
	return 0;
}
