/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "gateway/paths.h"

#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char *
join(const char *dir, const char *tail)
{
	char *text;

	return asprintf(&text, "%s%s", dir, tail) < 0 ? NULL : text;
}

static char *
below_home(const char *tail)
{
	const char *home = getenv("HOME");
	struct passwd *pw;

	if (!home || *home != '/') {
		pw = getpwuid(getuid());
		home = pw ? pw->pw_dir : "/";
	}
	return join(home, tail);
}

/* The XDG rule: relative values are ignored. */
static char *
xdg(const char *variable, const char *tail, const char *home_tail)
{
	const char *dir = getenv(variable);

	if (dir && *dir == '/')
		return join(dir, tail);
	return home_tail ? below_home(home_tail) : NULL;
}

char *
paths_config(void)
{
	if (!geteuid())
		return strdup("/etc/lungate/lungate.json");
	return xdg("XDG_CONFIG_HOME", "/lungate/lungate.json", "/.config/lungate/lungate.json");
}

char *
paths_state_dir(void)
{
	if (!geteuid())
		return strdup("/var/lib/lungate");
	return xdg("XDG_STATE_HOME", "/lungate", "/.local/state/lungate");
}

char *
paths_control(void)
{
	char *path, *state;

	if (!geteuid())
		return strdup("/run/lungate/control.sock");
	path = xdg("XDG_RUNTIME_DIR", "/lungate/control.sock", NULL);
	if (path)
		return path;
	state = paths_state_dir();
	path = state ? join(state, "/control.sock") : NULL;
	free(state);
	return path;
}
