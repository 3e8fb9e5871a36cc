# SPDX-License-Identifier: MIT
"""Turns the D-Bus interface's XML into a C string. Usage: embed.py IN OUT."""
import re
import sys

text = open(sys.argv[1], encoding="utf-8").read()
text = re.sub(r"<!--.*?-->", "", text, flags=re.S)
text = re.sub(r"<\?xml.*?\?>", "", text, flags=re.S).strip()
lines = [line.strip() for line in text.splitlines() if line.strip()]
with open(sys.argv[2], "w", encoding="utf-8") as out:
    out.write('#include "daemon/introspection.h"\n\nconst char introspection_xml[] =\n')
    for line in lines:
        out.write('    "%s\\n"\n' % line.replace("\\", "\\\\").replace('"', '\\"'))
    out.write("    ;\n")
