/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "common/jsonconf.h"

#include <fcntl.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/nearest.h"
#include "common/secret.h"
#include "common/util.h"

#define FILE_MAX (16u << 20)
#define PATH_TEXT 256

/* -- positions ---------------------------------------------------------------
 *
 * jansson tells where a syntax error is, but not where a value stood.  The
 * walker below runs over a text that jansson has accepted, so it may rely on
 * its grammar; it is asked only when there is something to complain about.
 */

struct walker {
	const char *at, *end;
};

static void
skip_space(struct walker *w)
{
	while (w->at < w->end && strchr(" \t\r\n", *w->at))
		w->at++;
}

static void
skip_string(struct walker *w)
{
	w->at++;
	while (w->at < w->end && *w->at != '"')
		w->at += *w->at == '\\' && w->end - w->at > 1 ? 2 : 1;
	if (w->at < w->end)
		w->at++;
}

static void
skip_value(struct walker *w)
{
	int depth = 0;

	skip_space(w);
	do {
		if (w->at >= w->end)
			return;
		if (*w->at == '"') {
			skip_string(w);
			continue;
		}
		if (*w->at == '{' || *w->at == '[')
			depth++;
		else if (*w->at == '}' || *w->at == ']')
			depth--;
		else if (depth == 0) {
			while (w->at < w->end && !strchr(",]} \t\r\n", *w->at))
				w->at++;
			return;
		}
		w->at++;
	} while (depth > 0);
}

static bool
next_member(struct walker *w)
{
	skip_space(w);
	if (w->at >= w->end || *w->at != ',')
		return false;
	w->at++;
	return true;
}

/* At '{': stand on the value of key (on the key itself when key_itself). */
static bool
enter_key(struct walker *w, const char *key, size_t len, bool key_itself)
{
	w->at++;
	do {
		const char *name;
		size_t name_len;

		skip_space(w);
		if (w->at >= w->end || *w->at != '"')
			return false;
		name = w->at;
		skip_string(w);
		name_len = (size_t)(w->at - name) - 2;
		if (name_len == len && memcmp(name + 1, key, len) == 0 && key_itself) {
			w->at = name;
			return true;
		}
		skip_space(w);
		w->at++; /* the colon */
		if (name_len == len && memcmp(name + 1, key, len) == 0)
			return true;
		skip_value(w);
	} while (next_member(w));
	return false;
}

/* At '[': stand on element n. */
static bool
enter_index(struct walker *w, unsigned long n)
{
	w->at++;
	while (n--) {
		skip_value(w);
		if (!next_member(w))
			return false;
	}
	return true;
}

static bool
enter_step(struct walker *w, const char **path, bool key_itself)
{
	const char *at = *path;

	skip_space(w);
	if (w->at >= w->end)
		return false;
	if (*at == '[') {
		char *close;
		unsigned long n = strtoul(at + 1, &close, 10);

		*path = *close == ']' ? close + 1 : close;
		return *w->at == '[' && enter_index(w, n);
	}
	if (*at == '.')
		at++;
	*path = at + strcspn(at, ".[");
	return *w->at == '{' && enter_key(w, at, (size_t)(*path - at), key_itself && **path == '\0');
}

void
json_locate(const struct json_doc *doc, const char *path, bool key_itself, unsigned *ret_line,
	    unsigned *ret_col)
{
	struct walker w = {doc->text, doc->text + doc->len};

	*ret_line = *ret_col = 0;
	while (*path)
		if (!enter_step(&w, &path, key_itself))
			return;
	skip_space(&w);
	*ret_line = *ret_col = 1;
	for (const char *at = doc->text; at < w.at; at++) {
		if (*at == '\n') {
			++*ret_line;
			*ret_col = 1;
		} else if (((unsigned char)*at & 0xc0) !=
			   0x80) { /* columns count characters, as editors do */
			++*ret_col;
		}
	}
}

/* -- memory --------------------------------------------------------------------- */

static void
wipe_and_free(void *p)
{
	if (p)
		secret_wipe(p, malloc_usable_size(p));
	free(p);
}

void
json_wipe_freed(void)
{
	json_set_alloc_funcs(malloc, wipe_and_free);
}

/* -- documents -------------------------------------------------------------- */

/* What editors and other programs' habits leave in a file, and no parser calls by its name. */
static const char *
advice(const char *text, size_t len, const char *error)
{
	if (len >= 3 && !memcmp(text, "\xef\xbb\xbf", 3))
		return "; it begins with a byte order mark: save it as UTF-8 without one";
	if (memchr(text, 0, len))
		return "; there is a NUL byte in it";
	if (strstr(error, " near '/'") || strstr(error, " near '#'"))
		return "; JSON has no comments";
	return "";
}

int
json_doc_parse(const char *name, const char *text, size_t len, struct json_doc *ret, struct errinfo *info)
{
	struct json_doc doc = {.len = len};
	json_error_t error;

	doc.name = strdup(name);
	doc.text = malloc(len + 1);
	if (!doc.name || !doc.text) {
		json_doc_fini(&doc);
		return err_set(info, -ENOMEM, "%s: not enough memory to read it", name);
	}
	memcpy(doc.text, text, len);
	doc.text[len] = '\0';
	doc.root = json_loadb(doc.text, len, JSON_REJECT_DUPLICATES, &error);
	if (!doc.root) {
		const char *hint = advice(doc.text, len, error.text);
		char *near = strstr(error.text, " near ");

		/* the words that follow are the file's: they may be a secret */
		if (near && strstr(doc.text, "\"secret\""))
			*near = 0;
		(void)err_set(info, LG_ECONFIG, "%s:%d:%d: %s%s", name, max_of(error.line, 1),
			      max_of(error.column, 1), error.text, hint);
		json_doc_fini(&doc);
		return LG_ECONFIG;
	}
	*ret = doc;
	return 0;
}

static int
read_all(int fd, char *text, size_t room, size_t *ret_len)
{
	size_t len = 0;

	while (len < room) {
		ssize_t n = read(fd, text + len, room - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		len += (size_t)n;
	}
	*ret_len = len;
	return 0;
}

/* How much it may hold: what a pipe holds is seen when it has been read.  Negative with words. */
static ssize_t
room_of(int fd, const char *path, struct errinfo *info)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_set(info, -errno, "%s: %s", path, err_text(-errno));
	if (!S_ISREG(st.st_mode))
		return FILE_MAX + 1;
	return st.st_size > (off_t)FILE_MAX ? FILE_MAX + 1 : st.st_size;
}

int
json_doc_load(const char *path, struct json_doc *ret, struct errinfo *info)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t room;
	char *text;
	size_t len = 0;
	int rc;

	if (fd < 0)
		return err_set(info, -errno, "%s: %s", path, err_text(-errno));
	room = room_of(fd, path, info);
	if (room < 0) {
		close(fd);
		return (int)room;
	}
	text = malloc((size_t)room + 1);
	rc = text ? read_all(fd, text, (size_t)room, &len) : -ENOMEM;
	close(fd);
	if (rc < 0)
		(void)err_set(info, rc, "%s: %s", path, err_text(rc));
	else if (len > FILE_MAX)
		rc = err_set(info, -EFBIG, "%s: larger than %u bytes: not a configuration file", path,
			     FILE_MAX);
	else
		rc = json_doc_parse(path, text, len, ret, info);
	if (text)
		secret_wipe(text, len);
	free(text);
	return rc;
}

void
json_doc_fini(struct json_doc *doc)
{
	json_decref(doc->root);
	free(doc->name);
	/* it may have held secrets */
	if (doc->text)
		secret_wipe(doc->text, doc->len);
	free(doc->text);
	memset(doc, 0, sizeof(*doc));
}

/* -- complaints ------------------------------------------------------------- */

/* Where path stands, or the nearest thing around it that can be found: a key with a dot in it is in no path. */
static void
locate_nearest(const struct json_doc *doc, const char *path, bool key_itself, unsigned *ret_line,
	       unsigned *ret_col)
{
	char up[PATH_TEXT];
	size_t len;

	json_locate(doc, path, key_itself, ret_line, ret_col);
	(void)snprintf(up, sizeof(up), "%s", path);
	for (len = strlen(up); !*ret_line && len; up[len] = '\0') {
		while (len && up[--len] != '.' && up[len] != '[')
			;
		up[len] = '\0';
		json_locate(doc, up, false, ret_line, ret_col);
	}
}

static int
complain_at(const struct json_doc *doc, const char *path, bool key_itself, struct errinfo *info,
	    const char *text)
{
	unsigned line, col;

	locate_nearest(doc, path, key_itself, &line, &col);
	return err_set(info, LG_ECONFIG, "%s:%u:%u: %s%s%s", doc->name, line, col, path, *path ? ": " : "",
		       text);
}

int
json_complain(const struct json_doc *doc, const char *path, struct errinfo *info, const char *fmt, ...)
{
	char text[sizeof(info->text) / 2];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap); /* cut words are better than none */
	va_end(ap);
	return complain_at(doc, path, false, info, text);
}

/* -- reading by table ------------------------------------------------------- */

static void
join_path(char out[PATH_TEXT], const char *path, const char *key)
{
	(void)snprintf(out, PATH_TEXT, "%s%s%s", path, *path ? "." : "",
		       key); /* a cut path is still a hint */
}

static int
complain_unknown(const struct json_doc *doc, const char *path, const char *key, const struct json_key *keys,
		 size_t n, struct errinfo *info)
{
	const char *near = n ? nearest_word(key, &keys[0].key, n, sizeof(*keys)) : NULL;
	char where[PATH_TEXT], text[512];
	int len;

	join_path(where, path, key);
	len = snprintf(text, sizeof(text), "unknown key");
	if (near)
		(void)snprintf(text + len, sizeof(text) - (size_t)len, "; did you mean \"%s\"?", near);
	else
		for (size_t i = 0; i < n && len >= 0 && (size_t)len < sizeof(text); i++)
			len += snprintf(text + len, sizeof(text) - (size_t)len, "%s%s",
					i ? ", " : "; known here: ", keys[i].key);
	return complain_at(doc, where, true, info, text);
}

static int
check_bounds(const struct json_doc *doc, const char *path, const struct json_key *key, uint64_t value,
	     struct errinfo *info)
{
	bool low = value < key->min;
	uint64_t bound = low ? key->min : key->max;
	char text[SIZE_EXACT];

	if (!low && (!key->max || value <= key->max))
		return 0;
	if (key->kind == JSON_KIND_SIZE)
		(void)size_exact(bound, text);
	else
		(void)snprintf(text, sizeof(text), "%llu", (unsigned long long)bound);
	return json_complain(doc, path, info, "must be at %s %s", low ? "least" : "most", text);
}

static int
read_number(const struct json_doc *doc, json_t *value, const char *path, const struct json_key *key,
	    uint64_t *out, struct errinfo *info)
{
	uint64_t number;
	int rc;

	if (json_is_integer(value)) {
		if (json_integer_value(value) < 0)
			return json_complain(doc, path, info, "must not be negative");
		number = (uint64_t)json_integer_value(value);
	} else if (key->kind == JSON_KIND_SIZE && json_is_string(value)) {
		rc = size_parse(json_string_value(value), &number);
		if (rc == -ERANGE)
			return json_complain(doc, path, info, "\"%s\" is larger than any size can be",
					     json_string_value(value));
		if (rc)
			return json_complain(
				doc, path, info,
				"\"%s\" is not a size; write bytes, or a string as \"512M\", \"10G\", \"1.5T\"",
				json_string_value(value));
	} else {
		return json_complain(doc, path, info, "must be %s",
				     key->kind == JSON_KIND_SIZE ? "a number of bytes or a string as \"10G\""
								 : "a whole number");
	}
	rc = check_bounds(doc, path, key, number, info);
	if (rc == 0)
		*out = number;
	return rc;
}

static int
read_choice(const struct json_doc *doc, json_t *value, const char *path, const struct json_key *key, int *out,
	    struct errinfo *info)
{
	const char *text = json_string_value(value);
	char list[256] = "";
	size_t len = 0;

	for (int i = 0; key->choices[i]; i++) {
		if (text && strcmp(text, key->choices[i]) == 0) {
			*out = i;
			return 0;
		}
		if (len < sizeof(list))
			len += (size_t)snprintf(list + len, sizeof(list) - len, "%s\"%s\"", i ? ", " : "",
						key->choices[i]);
	}
	return json_complain(doc, path, info, "must be one of %s", list);
}

static int
read_string(const struct json_doc *doc, json_t *value, const char *path, char **out, struct errinfo *info)
{
	char *copy;

	if (!json_is_string(value))
		return json_complain(doc, path, info, "must be a string");
	if (strlen(json_string_value(value)) != json_string_length(value))
		return json_complain(doc, path, info, "must not contain a NUL character");
	copy = strdup(json_string_value(value));
	if (!copy)
		return err_set(info, -ENOMEM, "%s: %s: %s", doc->name, path, err_text(-ENOMEM));
	free(*out);
	*out = copy;
	return 0;
}

static int
read_member(const struct json_doc *doc, json_t *value, const char *path, const struct json_key *key,
	    void *out, struct errinfo *info)
{
	void *member = (char *)out + key->offset;

	switch (key->kind) {
	case JSON_KIND_STRING:
		return read_string(doc, value, path, member, info);
	case JSON_KIND_SIZE:
	case JSON_KIND_UINT:
		return read_number(doc, value, path, key, member, info);
	case JSON_KIND_BOOL:
		if (!json_is_boolean(value))
			return json_complain(doc, path, info, "must be true or false");
		*(bool *)member = json_is_true(value);
		return 0;
	case JSON_KIND_ENUM:
		return read_choice(doc, value, path, key, member, info);
	case JSON_KIND_ARRAY:
	case JSON_KIND_OBJECT:
		if (json_typeof(value) != (key->kind == JSON_KIND_ARRAY ? JSON_ARRAY : JSON_OBJECT))
			return json_complain(doc, path, info, "must be %s",
					     key->kind == JSON_KIND_ARRAY ? "an array" : "an object");
		*(json_t **)member = value;
		return 0;
	}
	return -EINVAL;
}

int
json_read(const struct json_doc *doc, json_t *object, const char *path, const struct json_key *keys, size_t n,
	  void *out, struct errinfo *info)
{
	char where[PATH_TEXT];
	const char *name;
	json_t *value;

	if (!json_is_object(object))
		return json_complain(doc, path, info, "must be an object");
	json_object_foreach(object, name, value)
	{
		size_t i = 0;
		int rc;

		while (i < n && strcmp(keys[i].key, name) != 0)
			i++;
		if (i == n)
			return complain_unknown(doc, path, name, keys, n, info);
		join_path(where, path, name);
		rc = read_member(doc, value, where, &keys[i], out, info);
		if (rc < 0)
			return rc;
	}
	for (size_t i = 0; i < n; i++)
		if (keys[i].required && !json_object_get(object, keys[i].key))
			return json_complain(doc, path, info, "\"%s\" is missing", keys[i].key);
	return 0;
}
