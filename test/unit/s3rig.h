/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the tests of the S3 client share: a server that obeys until it is told not to.
 *
 * It is a table of objects with conditional PUTs; `fault` sees every request first and may answer in its stead, or
 * after it took effect.
 *
 * Threads: the server's fields are its threads'; a test changes and reads them through use_fault() and seen(), or
 * while nothing is under way.
 */
#ifndef LUNGATE_TEST_UNIT_S3RIG_H
#define LUNGATE_TEST_UNIT_S3RIG_H

#include "stores/object/object.h"
#include "test/lib/canned.h"

#define OBJECTS_MAX 64

struct object {
	char key[128];
	char *body;
	size_t n;
	unsigned version;
};

enum quirk { QUIRK_NONE, QUIRK_BARE, QUIRK_IGNORES, QUIRK_NO_IF_MATCH };

/** PASS: as usual; ANSWER: *a is the answer, nothing happens; AFTER: it happens, then *a is the answer. */
enum verdict { PASS, ANSWER, AFTER };
typedef enum verdict fault_fn(const struct canned_request *req, struct canned_answer *a);

struct s3_server {
	struct object objects[OBJECTS_MAX];
	unsigned version;
	enum quirk quirk;
	fault_fn *fault;
	unsigned calls;             /* of fault */
	unsigned puts, gets, others;
};

extern struct s3_server s;
extern struct canned *server;
extern struct object_store *store;
extern struct loop *loop;

void setup(void);
void teardown(void);
/** more: further parameters of the URL. */
void open_store(const char *more);
void use_fault(fault_fn *fault);
unsigned seen(const unsigned *count);

int put(const char *key, const char *text, bool if_absent, const char *if_match, char *etag);
int get(const char *key, uint64_t offset, uint64_t length, char *buf, size_t room);

/* for faults */
bool is(const struct canned_request *req, const char *method);
struct object *find(const char *key, bool make);
/** An error document; code NULL = none. */
void say(struct canned_answer *a, int status, const char *code);
/** What the server would have said. */
void usual(const struct canned_request *req, struct canned_answer *a);

#endif
