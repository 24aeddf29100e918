/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who may log in, how it proves that, and what it sees: the rules of one target,
 * or of discovery.  Constant once made, shared by references; a change is a new one.
 *
 * NULL stands for no rules: everybody, without authentication, sees everything.
 *
 * Threads: any.
 */
#ifndef LUNGATE_GATEWAY_ISCSI_ACCESS_H
#define LUNGATE_GATEWAY_ISCSI_ACCESS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/secret.h"
#include "gateway/iscsi/iscsi.h"
#include "gateway/iscsi/iscsi_fmt.h"

/** An address, IPv4 as IPv4-mapped IPv6. */
struct access_address {
	uint8_t bytes[16];
};

struct access_network {
	struct access_address base;
	unsigned bits; /* of 128 */
};

struct access_account {
	char *user;
	struct secret *secret;
};

/** A row of the list of initiators. */
struct access_entry {
	char name[ISCSI_NAME_MAX + 1]; /* without the '*' */
	size_t name_len;
	bool prefix;
	struct access_network network;
	const struct access_account *account; /* NULL: any of the target's */
	struct scsi_view view;
};

struct iscsi_access {
	_Atomic unsigned refs;
	bool chap;   /* who logs in must have an account */
	bool listed; /* who logs in must be in the list */
	unsigned algorithms; /* 1 << number */
	struct access_account *accounts;
	size_t naccounts;
	struct access_account *mutual; /* ours; NULL: none */
	struct secret *decoy;          /* stands for the secret of an account that is not there */
	struct access_entry *entries;
	size_t nentries;
};

struct iscsi_access *access_ref(struct iscsi_access *access);

/** "192.0.2.7:4711", "[2001:db8::1]:4711", with or without the port. 0 or -EINVAL. */
int access_parse_address(const char *text, struct access_address *ret);
/** "10.0.0.0/8", "2001:db8::/32", an address alone. */
int access_parse_network(const char *text, struct access_network *ret);
bool access_in_network(const struct access_network *network, const struct access_address *address);

/**
 * The row that holds for an initiator at an address: of those that match the one with the most exact name, then the
 * smallest network.  0 with *ret (NULL where there is no list), -EPERM: its name is in the list, but not for this address;
 * -ENOENT: it is not, and need not know that the target is there.
 */
int access_match(const struct iscsi_access *access, const char *initiator, const char *peer,
		 const struct access_entry **ret);
/** May this account be used?  entry as matched. */
bool access_account_holds(const struct iscsi_access *access, const struct access_entry *entry, const char *user);
/** The account of that name if entry lets it be used, or NULL; looks at all of them in any case. */
const struct access_account *access_find_account(const struct iscsi_access *access, const struct access_entry *entry,
						 const char *user);

#endif
