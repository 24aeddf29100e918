#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A few of the faults of test/services/check-faults, short, on our own S3 server.
set -u
here=$(cd "$(dirname "$0")" && pwd)
if [ -n "${SANITIZER:-}" ]; then scenes='stopped storm'; else scenes='stopped key-gone late-puts storm clock certificate'; fi
LUNGATE_FAULT_SECONDS=${LUNGATE_FAULT_SECONDS:-4} LUNGATE_FAULT_SCENES=${LUNGATE_FAULT_SCENES:-$scenes} \
	exec "$here/../services/check-faults" fake
