# SPDX-License-Identifier: MIT
"""A real dbus-daemon and private connections to it."""
import os
import signal
import subprocess

from gi.repository import Gio, GLib

from .base import BOUND, Failure, pump, read_text, wait_for
from .process import keeper

ACTIVATOR = "org.dbusactivator.Activator1"
ACTIVATOR_PATH = "/org/dbusactivator/Activator1"
DBUS = ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus")

# The limits are those of the stock session.conf; service_start_timeout is the test's choice.
CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <keep_umask/>
  <listen>unix:path={socket}</listen>
  <auth>EXTERNAL</auth>
  <standard_session_servicedirs/>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
  <limit name="max_incoming_bytes">1000000000</limit>
  <limit name="max_outgoing_bytes">1000000000</limit>
  <limit name="max_message_size">1000000000</limit>
  <limit name="service_start_timeout">{start_timeout}</limit>
  <limit name="auth_timeout">240000</limit>
  <limit name="max_completed_connections">100000</limit>
  <limit name="max_incomplete_connections">10000</limit>
  <limit name="max_connections_per_user">100000</limit>
  <limit name="max_pending_service_starts">10000</limit>
  <limit name="max_names_per_connection">50000</limit>
  <limit name="max_match_rules_per_connection">50000</limit>
  <limit name="max_replies_per_connection">50000</limit>
</busconfig>
"""
# Far beyond what any test waits: an answer that comes is never the daemon's own timeout.
START_TIMEOUT = 3600


class DBusError(Exception):
    def __init__(self, name, message):
        super().__init__(f"{name}: {message}")
        self.name = name
        self.message = message


class Pending:
    """A call under way."""

    def __init__(self, what):
        self.what = what
        self.reply = None
        self.trouble = None

    def done(self):
        return self.reply is not None or self.trouble is not None

    def wait(self, bound=None):
        wait_for(self.done, f"the answer to {self.what}", bound)
        if self.trouble is not None:
            raise Failure(f"{self.what}: {self.trouble}")
        return self.reply

    def result(self, bound=None):
        """The values of the reply (one value by itself); raises DBusError."""
        reply = self.wait(bound)
        if reply.get_message_type() == Gio.DBusMessageType.ERROR:
            body = reply.get_body()
            text = body.unpack()[0] if body is not None and body.n_children() else ""
            raise DBusError(reply.get_error_name(), text)
        body = reply.get_body()
        values = body.unpack() if body is not None else ()
        return values[0] if len(values) == 1 else values

    def error(self, bound=None):
        """The DBusError, or None when the call succeeded."""
        try:
            self.result(bound)
        except DBusError as error:
            return error
        return None


class Recording(list):
    """Signals as (member, values); grows while something is waited for."""

    def __init__(self, connection):
        super().__init__()
        self.connection = connection

    def sync(self):
        """Has everything now that was sent before an answer which another connection has."""
        self.connection.barrier()
        pump()
        return self


class Connection:
    """One private connection."""

    def __init__(self, address):
        self.gio = Gio.DBusConnection.new_for_address_sync(
            address, Gio.DBusConnectionFlags.AUTHENTICATION_CLIENT |
            Gio.DBusConnectionFlags.MESSAGE_BUS_CONNECTION, None, None)
        self.gio.set_exit_on_close(False)
        self.name = self.gio.get_unique_name()

    def close(self):
        try:
            self.gio.close_sync(None)
        except GLib.Error:
            pass

    def begin(self, destination, path, interface, member, signature="()", *args,
              auto_start=True):
        """Sends a method call, answers a Pending."""
        message = Gio.DBusMessage.new_method_call(destination, path, interface, member)
        if signature != "()":
            message.set_body(GLib.Variant(signature, args))
        if not auto_start:
            message.set_flags(Gio.DBusMessageFlags.NO_AUTO_START)
        pending = Pending(f"{interface}.{member} of {destination}")

        def finish(gio, outcome):
            try:
                pending.reply = gio.send_message_with_reply_finish(outcome)
            except GLib.Error as error:
                pending.trouble = error.message

        # The bound is wait()'s: the connection itself never gives up.
        self.gio.send_message_with_reply(message, Gio.DBusSendMessageFlags.NONE, 2 ** 31 - 1,
                                         None, finish)
        return pending

    def call(self, destination, path, interface, member, signature="()", *args, **more):
        return self.begin(destination, path, interface, member, signature, *args,
                          **more).result()

    def dbus(self, member, signature="()", *args):
        """A call to the bus itself."""
        return self.call(*DBUS, member, signature, *args)

    def send_signal(self, destination, path, interface, member, signature="()", *args):
        message = Gio.DBusMessage.new_signal(path, interface, member)
        if destination:
            message.set_destination(destination)
        if signature != "()":
            message.set_body(GLib.Variant(signature, args))
        self.gio.send_message(message, Gio.DBusSendMessageFlags.NONE)

    def barrier(self):
        """Everything that this connection has sent has been handled by the bus."""
        self.dbus("GetId")

    def own(self, name):
        """1: it is ours now."""
        return self.dbus("RequestName", "(su)", name, 4)

    def record(self, interface=None, member=None, sender=None):
        found = Recording(self)

        def arrived(_connection, _sender, _path, _interface, name, values):
            found.append((name, values.unpack()))

        self.gio.signal_subscribe(sender, interface, member, None, None,
                                  Gio.DBusSignalFlags.NONE, arrived)
        self.barrier()
        return found


class BusAt:
    """Calls to a bus that somebody else started."""

    def __init__(self, world, address):
        self.world = world
        self.address = address
        self.connections = []

    def connect(self):
        connection = Connection(self.address)
        self.connections.append(connection)
        return connection

    @property
    def client(self):
        """A connection for calls about which nothing else matters."""
        if not self.connections or self.connections[0].gio.is_closed():
            self.connections.insert(0, Connection(self.address))
        return self.connections[0]

    def begin_start(self, name, connection=None):
        return (connection or self.client).begin(*DBUS, "StartServiceByName", "(su)", name, 0)

    def start(self, name, connection=None):
        """1 started, 2 was running; raises DBusError. Waits until the activator, when there is
        one, knows the process: it has to ask the bus for it after it heard of the owner."""
        result = self.begin_start(name, connection).result()
        wait_for(lambda: self._is_settled(name), f"the activator to know the process of {name}")
        return result

    def _is_settled(self, name):
        if not self.has_owner(ACTIVATOR):
            return True
        try:
            fields = self.client.call(ACTIVATOR, ACTIVATOR_PATH, ACTIVATOR, "GetService", "(s)",
                                      name)
        except DBusError:
            return True
        return fields.get("MainPID", 0) == self.owner_pid(name)

    def begin_ping(self, name, connection=None):
        """A plain method call, which starts the service as well."""
        return (connection or self.client).begin(name, "/test", "org.dbusactivator.Test", "Ping")

    def ask(self, name, member, signature="()", *args):
        """A method of a test service that runs already."""
        return self.client.call(name, "/test", "org.dbusactivator.Test", member, signature, *args,
                                auto_start=False)

    def owner_pid(self, name):
        """0: nobody owns it."""
        try:
            return self.client.dbus("GetConnectionUnixProcessID", "(s)", name)
        except DBusError:
            return 0

    def owner(self, name):
        """The unique name of the owner, or nothing."""
        try:
            return self.client.dbus("GetNameOwner", "(s)", name)
        except DBusError:
            return ""

    def has_owner(self, name):
        return self.client.dbus("NameHasOwner", "(s)", name)

    def activatable(self):
        return set(self.client.dbus("ListActivatableNames"))

    def stop(self):
        """Leaves it; answers problems, as texts."""
        for connection in self.connections:
            connection.close()
        self.connections.clear()
        pump()
        return []


class Bus(BusAt):
    """dbus-daemon with a configuration of its own. env is what its services inherit."""

    def __init__(self, world, name="bus", systemd_activation=True, start_timeout=START_TIMEOUT,
                 config=CONFIG):
        super().__init__(world, None)
        self.systemd_activation = systemd_activation
        self.socket = str(world.path / name)
        self.config = world.path / f"{name}.conf"
        self.config.write_text(config.format(socket=self.socket,
                                             start_timeout=int(start_timeout * 1000)))
        self.errors = world.path / f"{name}.stderr"
        argv = ["dbus-daemon", f"--config-file={self.config}", "--nofork", "--nopidfile",
                "--nosyslog"]
        if systemd_activation:
            argv.append("--systemd-activation")
        read_end, write_end = os.pipe()
        argv.append(f"--print-address={write_end}")
        with open(self.errors, "wb") as errors:
            self.popen = keeper.add(subprocess.Popen(
                argv, env=world.env, cwd=world.path, stdin=subprocess.DEVNULL, stdout=errors,
                stderr=errors, pass_fds=[write_end], start_new_session=True))
        os.close(write_end)
        os.set_blocking(read_end, False)
        text = b""

        def address():
            nonlocal text
            try:
                more = os.read(read_end, 4096)
            except BlockingIOError:
                return False
            if not more:
                raise Failure(f"dbus-daemon did not start: {read_text(self.errors)}")
            text += more
            return text.endswith(b"\n")

        wait_for(address, "the bus")
        os.close(read_end)
        self.address = text.decode().strip()
        self.pid = self.popen.pid

    def stop(self):
        super().stop()
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGTERM)
        try:
            self.popen.wait(BOUND)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()
            return ["dbus-daemon did not end on SIGTERM"]
        return []
