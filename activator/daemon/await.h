/* SPDX-License-Identifier: MIT */
#pragma once

/* Waits until the socket of a unix:path= address can be connected to, woken by what happens in
 * its directory. Blocks: this is before anything is served. Returns at once for other
 * addresses; SIGTERM ends the program. */
void await_bus_at(const char *address);
