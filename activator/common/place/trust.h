/* SPDX-License-Identifier: MIT */
#pragma once

#include <stdbool.h>

/* True when nobody but root and ourselves can change what the absolute path leads to: the file,
 * every directory and every link on the way belong to one of us and are not writable by others.
 * A directory that all may write to passes when it is sticky: nobody can replace what is ours in
 * it. A path that leads nowhere passes too if the way up to there does. */
bool trust_path(const char *path);
