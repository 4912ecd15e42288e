"""Authorities and certificates for one test run, made by openssl."""

import datetime
import os
import shutil
import subprocess

import harness


class Authority:
    """A CA of its own; `sign` makes a key and a certificate in PEM files."""

    def __init__(self, directory, name):
        self.directory = directory
        self.name = name
        self.key, self.certificate = directory / f"{name}.key", directory / f"{name}.crt"
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                "-keyout", self.key, "-out", self.certificate, "-days", "2", "-subj", f"/CN={name}",
                "-addext", "basicConstraints=critical,CA:TRUE")

    def sign(self, name, common_name, alternatives=None, days=2):
        """(certificate, key); `alternatives` as in "DNS:localhost,IP:127.0.0.1". days=-1: expired."""
        key, request = self.directory / f"{name}.key", self.directory / f"{name}.csr"
        certificate = self.directory / f"{name}.crt"
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", request,
                "-subj", f"/CN={common_name}")
        extensions = self.directory / f"{name}.ext"
        extensions.write_text(f"subjectAltName={alternatives}\n" if alternatives else "basicConstraints=CA:FALSE\n")
        openssl("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.key,
                "-CAcreateserial", "-out", certificate, "-days", str(days), "-sha256", "-extfile", extensions)
        for file in (key, certificate):
            own(file)
        return certificate, key


    def revoke(self, *pairs, days=2):
        """A revocation list with these certificates of ours on it; days=-1: out of date."""
        number = len(list(self.directory.glob(f"{self.name}*.crl")))
        stem = self.directory / f"{self.name}{number}"
        stem.with_suffix(".index").write_text("")
        stem.with_suffix(".cnf").write_text(f"[ca]\ndefault_ca=ours\n[ours]\ndatabase={stem}.index\ndefault_md=sha256\n")
        command = ["ca", "-config", stem.with_suffix(".cnf"), "-cert", self.certificate, "-keyfile", self.key]
        for certificate, _ in pairs:
            openssl(*command, "-revoke", certificate)
        end = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=days)
        begin = end - datetime.timedelta(days=10)
        openssl(*command, "-gencrl", "-out", stem.with_suffix(".crl"), "-crl_lastupdate", f"{begin:%Y%m%d%H%M%SZ}",
                "-crl_nextupdate", f"{end:%Y%m%d%H%M%SZ}")
        return own(stem.with_suffix(".crl"))


def openssl(*arguments):
    subprocess.run(["openssl", *arguments], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def own(file):
    """As PostgreSQL and libpq want it: nobody else may read a key."""
    os.chmod(file, 0o600)
    if harness.RUN_AS:
        shutil.chown(file, harness.RUN_AS["user"], harness.RUN_AS["group"])
    return file


class Certificates:
    """What the tests need, once for each program."""

    _shared = None

    @classmethod
    def shared(cls):
        if cls._shared is None:
            cls._shared = cls()
        return cls._shared

    def __init__(self):
        self.directory = harness.scratch_directory()
        self.directory.chmod(0o755)
        self.authority = Authority(self.directory, "root")
        self.stranger = Authority(self.directory, "stranger")
        for authority in (self.authority, self.stranger):
            authority.certificate.chmod(0o644)
        here = "DNS:localhost,IP:127.0.0.1"
        self.server = self.authority.sign("server", "pooler", here)
        self.expired = self.authority.sign("expired", "pooler", here, days=-1)
        self.elsewhere = self.authority.sign("elsewhere", "elsewhere.example", "DNS:elsewhere.example")
        self.by_name_only = self.authority.sign("by_name_only", "localhost")
        self.app = self.authority.sign("app", "app")
        self.lost_app = self.authority.sign("lost_app", "app")
        self.lost_server = self.authority.sign("lost_server", "pooler", here)
        self.false_app = self.stranger.sign("false_app", "app")
        self.revocations = self.authority.revoke(self.lost_app, self.lost_server)
        self.old_revocations = self.authority.revoke(days=-1)
        self.strangers_revocations = self.stranger.revoke()
        self.root = self.authority.certificate
        self.false_root = self.stranger.certificate

    def for_clients(self, sslmode, pair=None, ca=None):
        """Settings of a pgproxy with TLS for its clients."""
        certificate, key = pair or self.server
        return {"client_tls_sslmode": sslmode, "client_tls_cert_file": certificate,
                "client_tls_key_file": key, "client_tls_ca_file": ca}
