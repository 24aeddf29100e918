/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "common/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Fills a mapping from its start. */
struct secret {
	_Atomic unsigned refs;
	size_t len;
	uint8_t bytes[SECRET_MAX];
};

void
secret_wipe(void *p, size_t n)
{
	explicit_bzero(p, n);
}

static struct secret *
secret_alloc(void)
{
	struct secret *secret =
		mmap(NULL, sizeof(*secret), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (secret == MAP_FAILED)
		return NULL;
	/* where these are not to be had the secret is no less a secret */
	(void)madvise(secret, sizeof(*secret), MADV_DONTDUMP);
	(void)mlock(secret, sizeof(*secret));
	atomic_store(&secret->refs, 1);
	return secret;
}

struct secret *
secret_new(const void *p, size_t len)
{
	struct secret *secret = len <= SECRET_MAX ? secret_alloc() : NULL;

	if (!secret)
		return NULL;
	memcpy(secret->bytes, p, len);
	secret->len = len;
	return secret;
}

struct secret *
secret_ref(struct secret *secret)
{
	atomic_fetch_add(&secret->refs, 1);
	return secret;
}

void
secret_unref(struct secret *secret)
{
	if (!secret || atomic_fetch_sub(&secret->refs, 1) != 1)
		return;
	secret_wipe(secret->bytes, sizeof(secret->bytes));
	(void)munmap(secret, sizeof(*secret));
}

const uint8_t *
secret_bytes(const struct secret *secret)
{
	return secret->bytes;
}

size_t
secret_len(const struct secret *secret)
{
	return secret->len;
}

bool
secret_equal(const struct secret *a, const struct secret *b)
{
	return a->len == b->len && CRYPTO_memcmp(a->bytes, b->bytes, SECRET_MAX) == 0;
}

/* -- files --------------------------------------------------------------- */

static int
check_file(int fd, const char *path, struct errinfo *info)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_set(info, -errno, "%s: %s", path, err_text(-errno));
	if (!S_ISREG(st.st_mode))
		return err_set(info, -EINVAL, "%s is not a plain file", path);
	if (st.st_uid != geteuid() && st.st_uid != 0)
		return err_set(info, -EPERM,
			       "%s belongs to another user (uid %u), who could change it: chown it", path,
			       (unsigned)st.st_uid);
	if (st.st_mode & 077)
		return err_set(info, -EPERM,
			       "%s has mode %04o: group or others can get at the secret; chmod 600 it", path,
			       (unsigned)(st.st_mode & 07777));
	return 0;
}

static int
read_all(int fd, const char *path, struct secret *secret, struct errinfo *info)
{
	uint8_t more;
	size_t len;
	ssize_t n;

	while (secret->len < SECRET_MAX) {
		n = read(fd, secret->bytes + secret->len, SECRET_MAX - secret->len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_set(info, -errno, "%s: %s", path, err_text(-errno));
		if (n == 0)
			break;
		secret->len += (size_t)n;
	}
	if (secret->len == SECRET_MAX && read(fd, &more, 1) != 0)
		return err_set(info, -EFBIG, "%s is longer than a secret may be", path);
	len = secret->len;
	if (len && secret->bytes[len - 1] == '\n')
		len--;
	if (len && secret->bytes[len - 1] == '\r')
		len--;
	memset(secret->bytes + len, 0, secret->len - len);
	secret->len = len;
	return 0;
}

int
secret_read_file(const char *path, struct secret **ret, struct errinfo *info)
{
	/* a FIFO must not hold us up before it is refused */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK), r;
	struct secret *secret;

	if (fd < 0)
		return err_set(info, -errno, "%s: %s", path, err_text(-errno));
	r = check_file(fd, path, info);
	if (r) {
		close(fd);
		return r;
	}
	secret = secret_alloc();
	r = secret ? read_all(fd, path, secret, info) : -ENOMEM;
	close(fd);
	if (r)
		secret_unref(secret);
	else
		*ret = secret;
	return r;
}
