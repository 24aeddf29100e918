/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What sbc.c and sbc_more.c share: long commands in pieces.
 *
 * Threads: the unit's home.
 */
#ifndef LUNGATE_GATEWAY_SCSI_SBC_H
#define LUNGATE_GATEWAY_SCSI_SBC_H

#include "gateway/scsi/scsi_impl.h"

/** Length of the next piece of a range of total bytes: after it task->at stands on a page of the volume. */
uint64_t sbc_piece(const struct scsi_task *task, uint64_t total);
/** Repeat the block at the start of the first page to the page's end. */
void sbc_fill_page(struct scsi_task *task);
/** VOL_FUA where the command or the unit's cache mode asks for it. */
uint32_t sbc_write_flags(const struct scsi_task *task);

#endif
