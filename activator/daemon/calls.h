/* SPDX-License-Identifier: MIT */
/* The methods of org.dbusactivator.Activator1; design.md section 5 is the contract. Each answers
 * the call, now or later. all: the caller may see command lines and messages. */
#pragma once

#include "daemon/activator.h"

void call_list_services(struct activator *a, DBusMessage *call, gboolean all);
void call_get_service(struct activator *a, DBusMessage *call, gboolean all);
void call_describe_services(struct activator *a, DBusMessage *call, gboolean all);
void call_list_processes(struct activator *a, DBusMessage *call, gboolean all);
void call_list_activations(struct activator *a, DBusMessage *call, gboolean all);
void call_get_log(struct activator *a, DBusMessage *call, gboolean all);
void call_stop_service(struct activator *a, DBusMessage *call, gboolean all);
void call_stop_all(struct activator *a, DBusMessage *call, gboolean all);
void call_kill_service(struct activator *a, DBusMessage *call, gboolean all);
void call_reload(struct activator *a, DBusMessage *call, gboolean all);
void call_reexec(struct activator *a, DBusMessage *call, gboolean all);
