/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the daemon tells about itself: the same objects for the control socket
 * and for the files of the mount.
 *
 * Threads: any that may block; `lock` is taken inside.
 */
#ifndef LUNGATE_GATEWAY_INSPECT_H
#define LUNGATE_GATEWAY_INSPECT_H

#include <jansson.h>

#include "gateway/daemon.h"

json_t *inspect_status(struct daemon *daemon);
json_t *inspect_volumes(struct daemon *daemon);
json_t *inspect_targets(struct daemon *daemon);
/** NULL when there is none. */
json_t *inspect_volume(struct daemon *daemon, const char *name);
json_t *inspect_target(struct daemon *daemon, const char *name);

/** Prometheus text, malloc'd; metrics.c. */
char *inspect_metrics(struct daemon *daemon);

/** The chunk map in `cells` equal ranges: {"chunk_size", "chunks", "cells": [{"first", "chunks", "clean", "dirty", "allocated"}]}. */
int inspect_map(struct daemon *daemon, const char *name, uint64_t first, uint64_t end, uint64_t cells, json_t **ret,
		struct errinfo *info);

void inspect_provider(struct daemon *daemon, struct mount_provider *ret);

#endif
