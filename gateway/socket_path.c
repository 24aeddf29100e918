/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "gateway/socket_path.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int
socket_path(const char *path, struct sockaddr_un *addr, int *ret_dir)
{
	const char *slash = strrchr(path, '/');
	char *dir;
	int n, fd;

	memset(addr, 0, sizeof(*addr));
	addr->sun_family = AF_UNIX;
	*ret_dir = -1;
	if (strlen(path) < sizeof(addr->sun_path)) {
		memcpy(addr->sun_path, path, strlen(path));
		return 0;
	}
	if (!slash)
		return -ENAMETOOLONG;
	dir = strndup(path, (size_t)(slash - path) + 1);
	if (!dir)
		return -ENOMEM;
	fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	free(dir);
	if (fd < 0)
		return -errno;
	n = snprintf(addr->sun_path, sizeof(addr->sun_path), "/proc/self/fd/%d/%s", fd, slash + 1);
	if (n < 0 || (size_t)n >= sizeof(addr->sun_path)) {
		close(fd);
		return -ENAMETOOLONG;
	}
	*ret_dir = fd;
	return 0;
}

int
socket_path_connect(const char *path)
{
	struct sockaddr_un addr;
	int fd, dir, r;

	r = socket_path(path, &addr, &dir);
	if (r)
		return r;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		r = -errno;
	else if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		r = -errno;
	if (dir >= 0)
		close(dir);
	if (r) {
		if (fd >= 0)
			close(fd);
		return r;
	}
	return fd;
}
