/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * CRC32C (Castagnoli), RFC 7143 13.1 and RFC 3720 B.4: the digest of iSCSI and the checksum
 * of every byte lungate writes.  Hardware where the CPU has it, else
 * slicing-by-8; chosen once at load.  Data that may be in memory only is best summed right before its next use.
 *
 * Threads: any (pure).
 */
#ifndef LUNGATE_COMMON_CRC32C_H
#define LUNGATE_COMMON_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/** Checksum of n bytes continuing crc; start with 0.  crc32c(0, "123456789", 9) is 0xe3069283. */
uint32_t crc32c(uint32_t crc, const void *p, size_t n);

/** How many ways of computing it run on this CPU, and each of them: for tests that compare them.  The first is the
 *  portable code, the last the one that crc32c() takes. */
unsigned crc32c_variants(void);
uint32_t crc32c_by(unsigned variant, uint32_t crc, const void *p, size_t n);
/** "portable", "sse4.2", "vpclmulqdq" or "armv8". */
const char *crc32c_variant_name(unsigned variant);

/** The name of the one that crc32c() takes. */
const char *crc32c_implementation(void);

/** The checksum of 4096 zero bytes. */
#define CRC32C_ZERO_PAGE 0x98f94189u

#endif
