"""A mail server for the tests: AUTH and TLS as real ones have it, mails into a folder.

Arguments: port, certificate, key, folder, 'implicit' or 'starttls'.
"""

import pathlib
import signal
import ssl
import sys

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

port, certificate, key, folder, mode = sys.argv[1:]
context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
context.load_cert_chain(certificate, key)


class Mailbox:
    count = 0

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("full@"):
            return "552 5.2.2 Mailbox full"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        Mailbox.count += 1
        path = pathlib.Path(folder, f"{Mailbox.count:04}.eml")
        path.with_suffix(".new").write_bytes(envelope.content)
        path.with_suffix(".new").rename(path)
        return "250 Taken"


def check(server, session, envelope, mechanism, data):
    right = isinstance(data, LoginPassword) and (data.login, data.password) == (b"ann", b"correct horse")
    return AuthResult(success=right, handled=False)


common = dict(hostname="127.0.0.1", port=int(port), authenticator=check, auth_required=True)
if mode == "implicit":
    controller = Controller(Mailbox(), ssl_context=context, auth_require_tls=False, **common)
else:
    controller = Controller(Mailbox(), tls_context=context, require_starttls=True, **common)
controller.start()
signal.sigwait({signal.SIGTERM, signal.SIGINT})
controller.stop()
