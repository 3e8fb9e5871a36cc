/* SPDX-License-Identifier: MIT */
/* The introspection text of the activator's object; data/ has the same, and a test compares. */
#pragma once

extern const char introspection_xml[];
