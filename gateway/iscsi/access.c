/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The rules of access as data: made from what the configuration says, asked at
 * login, for discovery, and again when they change.
 *
 * Invariant: nothing changes after iscsi_access_new() but the count of references; entries point into
 * accounts of the same object.
 *
 * Failure: a description that cannot be is refused with words; nothing else can fail.
 */
#include "gateway/iscsi/access.h"

#include <arpa/inet.h>
#include <openssl/rand.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/iscsi/chap.h"
#include "gateway/iscsi/login.h"

/* -- addresses ----------------------------------------------------------- */

static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

static int
parse_host(const char *host, struct access_address *ret)
{
	if (inet_pton(AF_INET, host, ret->bytes + 12) == 1) {
		memcpy(ret->bytes, mapped, sizeof(mapped));
		return 0;
	}
	return inet_pton(AF_INET6, host, ret->bytes) == 1 ? 0 : -EINVAL;
}

int
access_parse_address(const char *text, struct access_address *ret)
{
	char host[INET6_ADDRSTRLEN];
	const char *end;
	size_t n;

	if (*text == '[') {
		text++;
		end = strchr(text, ']');
	} else {
		end = strchr(text, ':');
		/* more than one colon: an IPv6 address without a port */
		if (end && strchr(end + 1, ':'))
			end = NULL;
	}
	n = end ? (size_t)(end - text) : strlen(text);
	if (n >= sizeof(host))
		return -EINVAL;
	memcpy(host, text, n);
	host[n] = 0;
	return parse_host(host, ret);
}

static bool
bits_beyond(const struct access_network *network)
{
	for (unsigned i = network->bits; i < 128; i++)
		if (network->base.bytes[i / 8] & 0x80u >> i % 8)
			return true;
	return false;
}

int
access_parse_network(const char *text, struct access_network *ret)
{
	const char *slash = strchr(text, '/');
	char host[INET6_ADDRSTRLEN];
	size_t n = slash ? (size_t)(slash - text) : strlen(text);
	unsigned most;
	uint64_t bits;

	if (n >= sizeof(host))
		return -EINVAL;
	memcpy(host, text, n);
	host[n] = 0;
	most = strchr(host, ':') ? 128 : 32;
	if (parse_host(host, &ret->base) < 0)
		return -EINVAL;
	bits = most;
	if (slash && (slash[1] == '0' ? slash[2] != 0 : strspn(slash + 1, "0123456789") > 3))
		return -EINVAL;
	if (slash && (keys_number(slash + 1, &bits) < 0 || bits > most))
		return -EINVAL;
	ret->bits = 128 - most + (unsigned)bits;
	/* 10.1.2.3/8 is a slip, or a wish for the one address */
	return bits_beyond(ret) ? -ERANGE : 0;
}

bool
access_in_network(const struct access_network *network, const struct access_address *address)
{
	unsigned bytes = network->bits / 8, rest = network->bits % 8;

	if (memcmp(network->base.bytes, address->bytes, bytes) != 0)
		return false;
	return !rest || !((network->base.bytes[bytes] ^ address->bytes[bytes]) >> (8 - rest));
}

/* -- making -------------------------------------------------------------- */

static void
account_fini(struct access_account *account)
{
	free(account->user);
	secret_unref(account->secret);
}

void
iscsi_access_unref(struct iscsi_access *access)
{
	if (!access || atomic_fetch_sub(&access->refs, 1) != 1)
		return;
	for (size_t i = 0; i < access->naccounts; i++)
		account_fini(&access->accounts[i]);
	free(access->accounts);
	if (access->mutual)
		account_fini(access->mutual);
	free(access->mutual);
	secret_unref(access->decoy);
	free(access->entries);
	free(access);
}

struct iscsi_access *
access_ref(struct iscsi_access *access)
{
	if (access)
		atomic_fetch_add(&access->refs, 1);
	return access;
}

static int
account_init(struct access_account *account, const struct iscsi_account *from)
{
	account->user = strdup(from->user);
	account->secret = secret_ref(from->secret);
	return account->user ? 0 : -ENOMEM;
}

static int
make_decoy(struct iscsi_access *access)
{
	uint8_t bytes[16];

	if (RAND_bytes(bytes, sizeof(bytes)) != 1)
		return -EIO;
	access->decoy = secret_new(bytes, sizeof(bytes));
	return access->decoy ? 0 : -ENOMEM;
}

static int
add_accounts(struct iscsi_access *access, const struct iscsi_access_spec *spec, struct errinfo *info)
{
	int rc = make_decoy(access);

	access->accounts = calloc(spec->naccounts + 1, sizeof(*access->accounts));
	if (!access->accounts)
		return -ENOMEM;
	for (size_t i = 0; !rc && i < spec->naccounts; i++)
		rc = account_init(&access->accounts[access->naccounts++], &spec->accounts[i]);
	if (rc || !spec->mutual)
		return rc;
	access->mutual = calloc(1, sizeof(*access->mutual));
	rc = access->mutual ? account_init(access->mutual, spec->mutual) : -ENOMEM;
	/* RFC 7143 9.2.1: otherwise an initiator could have us answer our own challenge */
	for (size_t i = 0; !rc && i < access->naccounts; i++)
		if (secret_equal(access->accounts[i].secret, access->mutual->secret))
			rc = err_set(info, -EINVAL, "the account \"%s\" has the secret of the target itself",
				     access->accounts[i].user);
	return rc;
}

int
iscsi_initiator_check(const char *name, const char *network, struct errinfo *info)
{
	char lower[ISCSI_NAME_MAX + 1];
	struct access_network parsed;
	const char *star = strchr(name, '*');
	int rc;

	if (login_name(name, lower) < 0)
		return err_set(info, -EINVAL, "\"%.240s\" is no initiator name", name);
	if (star && star[1])
		return err_set(info, -EINVAL, "\"%.240s\": a '*' may only be the last character", name);
	rc = network ? access_parse_network(network, &parsed) : 0;
	if (rc == -ERANGE)
		return err_set(
			info, -EINVAL,
			"\"%.80s\" has address bits beyond its prefix: write the first address of the network",
			network);
	return rc ? err_set(info, -EINVAL,
			    "\"%.80s\" is no network such as 10.0.0.0/8, 2001:db8::/32 or 192.0.2.7", network)
		  : 0;
}

static int
entry_init(struct iscsi_access *access, struct access_entry *entry, const struct iscsi_initiator *from,
	   struct errinfo *info)
{
	int rc = iscsi_initiator_check(from->name, from->network, info);

	if (rc)
		return rc;
	rc = login_name(from->name, entry->name);
	if (!rc && from->network)
		rc = access_parse_network(from->network, &entry->network);
	entry->name_len = strlen(entry->name);
	if (entry->name[entry->name_len - 1] == '*') {
		entry->prefix = true;
		entry->name[--entry->name_len] = 0;
	}
	if (from->view)
		entry->view = *from->view;
	else
		scsi_view_all(&entry->view);
	for (size_t i = 0; from->user && i < access->naccounts; i++)
		if (!strcmp(access->accounts[i].user, from->user))
			entry->account = &access->accounts[i];
	if (!rc && from->user && !entry->account)
		rc = err_set(info, -ENOENT, "there is no account \"%s\"", from->user);
	return rc;
}

int
iscsi_access_new(const struct iscsi_access_spec *spec, struct iscsi_access **ret, struct errinfo *info)
{
	struct iscsi_access *access = calloc(1, sizeof(*access));
	int rc;

	if (!access)
		return -ENOMEM;
	atomic_store(&access->refs, 1);
	access->chap = spec->chap;
	access->listed = spec->listed;
	access->algorithms = spec->algorithms ? spec->algorithms : CHAP_ALL;
	access->entries = calloc(spec->ninitiators + 1, sizeof(*access->entries));
	rc = access->entries ? add_accounts(access, spec, info) : -ENOMEM;
	for (size_t i = 0; !rc && i < spec->ninitiators; i++)
		rc = entry_init(access, &access->entries[access->nentries++], &spec->initiators[i], info);
	if (rc)
		iscsi_access_unref(access);
	else
		*ret = access;
	return rc;
}

/* -- asking -------------------------------------------------------------- */

static bool
name_matches(const struct access_entry *entry, const char *initiator)
{
	return entry->prefix ? !strncmp(entry->name, initiator, entry->name_len)
			     : !strcmp(entry->name, initiator);
}

static bool
more_exact(const struct access_entry *a, const struct access_entry *b)
{
	if (a->prefix != b->prefix)
		return !a->prefix;
	if (a->name_len != b->name_len)
		return a->name_len > b->name_len;
	return a->network.bits > b->network.bits;
}

int
access_match(const struct iscsi_access *access, const char *initiator, const char *peer,
	     const struct access_entry **ret)
{
	const struct access_entry *best = NULL;
	struct access_address address;
	bool known = false, placed = access_parse_address(peer, &address) == 0;

	*ret = NULL;
	if (!access || !access->listed)
		return 0;
	for (size_t i = 0; i < access->nentries; i++) {
		const struct access_entry *entry = &access->entries[i];

		if (!name_matches(entry, initiator))
			continue;
		/* "*" with a network tells nobody's name */
		known |= entry->name_len > 0;
		if (entry->network.bits && (!placed || !access_in_network(&entry->network, &address)))
			continue;
		if (!best || more_exact(entry, best))
			best = entry;
	}
	*ret = best;
	return best ? 0 : known ? -EPERM : -ENOENT;
}

const struct access_account *
access_find_account(const struct iscsi_access *access, const struct access_entry *entry, const char *user)
{
	const struct access_account *found = NULL;

	for (size_t i = 0; i < access->naccounts; i++)
		if (!strcmp(access->accounts[i].user, user))
			found = &access->accounts[i];
	if (entry && entry->account && entry->account != found)
		return NULL;
	return found;
}

bool
access_account_holds(const struct iscsi_access *access, const struct access_entry *entry, const char *user)
{
	return access && access_find_account(access, entry, user);
}
