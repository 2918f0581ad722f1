"""
Records what TLS clients say first: writes one .bin a client and index.json beside this file.

    python tests/wire/hellos/record.py [NAME=COMMAND ...]

Every client of CLIENTS that this machine has is run against a port that reads, never answers
and closes; what a client sent until then is kept as it came.  A client that is missing keeps
the recording it has.  NAME=COMMAND replaces a client's command, to record another version of
it: $PORT, $NAME and $DIR stand for the port, the client's name and a folder for its files.

What to expect of a recording is written here, by hand, from the command: not by the parser
that is tested with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent

OPENSSL = "openssl s_client -connect 127.0.0.1:$PORT"
PYOPENSSL = """python -c "
import sys
from OpenSSL import SSL
context = SSL.Context(getattr(SSL, 'TLS_METHOD', SSL.SSLv23_METHOD))
if sys.argv[3:]: context.set_alpn_protos([name.encode() for name in sys.argv[3:]])
client = SSL.Connection(context)
client.set_tlsext_host_name(sys.argv[2].encode())
client.set_connect_state()
try: client.do_handshake()
except SSL.WantReadError: pass
import socket
peer = socket.create_connection(('127.0.0.1', int(sys.argv[1])))
peer.sendall(client.bio_read(65536)); peer.recv(1)
" $PORT"""
NODE = """node -e "
require('tls').connect({port: $PORT, host: '127.0.0.1', servername: 'node.example',
ALPNProtocols: ['h2', 'http/1.1']}).on('error', () => 0)" """
CHROMIUM = (
    "chromium-headless-shell --no-sandbox --user-data-dir=$DIR --disable-background-networking "
    "--host-resolver-rules='MAP chromium.example 127.0.0.1' "
    "--dump-dom https://chromium.example:$PORT/"
)
GO = """cat > $DIR/hello.go <<'EOF' && GOCACHE=$DIR/cache go run $DIR/hello.go $PORT
package main
import ("crypto/tls"; "os")
func main() {
    tls.Dial("tcp", "127.0.0.1:" + os.Args[1], &tls.Config{
        ServerName: "go.example", NextProtos: []string{"h2", "http/1.1"}})
}
EOF"""
JAVA = """cat > $DIR/Hello.java <<'EOF' && java $DIR/Hello.java $PORT
import javax.net.ssl.*;
public class Hello {
    public static void main(String[] args) throws Exception {
        SSLSocket socket = (SSLSocket) SSLSocketFactory.getDefault()
            .createSocket("127.0.0.1", Integer.parseInt(args[0]));
        SSLParameters asked = socket.getSSLParameters();
        asked.setServerNames(java.util.List.of(new SNIHostName("java.example")));
        asked.setApplicationProtocols(new String[] {"h2", "http/1.1"});
        socket.setSSLParameters(asked);
        socket.startHandshake();
    }
}
EOF"""
ENVOY = """cat > $DIR/envoy.yaml <<'EOF'
static_resources:
  listeners:
  - address: {pipe: {path: $DIR/listener}}
    filter_chains:
    - filters:
      - name: tcp
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: tcp
          cluster: c
  clusters:
  - name: c
    type: STATIC
    load_assignment: {cluster_name: c, endpoints: [{lb_endpoints: [{endpoint: {address:
      {socket_address: {address: 127.0.0.1, port_value: $PORT}}}}]}]}
    transport_socket:
      name: tls
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
        sni: outbound_.5432_._.db.shop.svc.cluster.local
        common_tls_context: {alpn_protocols: [istio-peer-exchange, istio]}
EOF
envoy -c $DIR/envoy.yaml --use-dynamic-base-id -l off & trap 'kill $!' EXIT
until [ -S $DIR/listener ]; do sleep 0.1; done
curl -s --max-time 5 --unix-socket $DIR/listener http://x/"""

HTTP = ["h2", "http/1.1"]
LONG = [f"protocol-number-{number:03}-of-the-long-list" for number in range(60)]
TLS12, TLS13 = [0x0303], [0x0304, 0x0303]
# OpenSSL without a minimum; "openssl s_client -trace" lists the same.
EVERY = [0x0304, 0x0303, 0x0302, 0x0301]


class Client(NamedTuple):
    """
    @ivar command: what is run, by bash.
    @ivar server_name: what it asks for.
    @ivar alpn: what it offers.
    @ivar versions: what it offers, without GREASE.
    @ivar version: a command that prints the client's version.
    """

    command: str
    server_name: str | None
    alpn: list[str]
    versions: list[int]
    version: str = "openssl version"


CLIENTS = {
    "openssl-3.0": Client(f"{OPENSSL} -servername openssl.example", "openssl.example", [], EVERY),
    "openssl-3.0-no-name": Client(f"{OPENSSL} -noservername", None, [], EVERY),
    "openssl-3.0-alpn": Client(
        f"{OPENSSL} -servername OpenSSL.Example -alpn istio-peer-exchange,istio",
        "openssl.example",
        ["istio-peer-exchange", "istio"],
        EVERY,
    ),
    "openssl-3.0-tls1.2": Client(
        f"{OPENSSL} -tls1_2 -servername openssl.example", "openssl.example", [], TLS12
    ),
    "openssl-3.0-tls1.3": Client(
        f"{OPENSSL} -tls1_3 -servername openssl.example", "openssl.example", [], [0x0304]
    ),
    "openssl-3.0-five-records": Client(
        f"{OPENSSL} -max_send_frag 512 -servername openssl.example -alpn {','.join(LONG)}",
        "openssl.example",
        LONG,
        EVERY,
    ),
    "openssl-4.0": Client(
        f"{PYOPENSSL} pyopenssl.example h2 http/1.1",
        "pyopenssl.example",
        HTTP,
        TLS13,
        "python -c 'from OpenSSL import SSL; print(SSL.OpenSSL_version(0).decode())'",
    ),
    "openssl-1.1.1": Client(
        f"{PYOPENSSL} pyopenssl.example h2 http/1.1",
        "pyopenssl.example",
        HTTP,
        EVERY,
        "python -c 'from OpenSSL import SSL; print(SSL.SSLeay_version(0).decode())'",
    ),
    "openssl-1.1.0": Client(
        f"{PYOPENSSL} pyopenssl.example h2 http/1.1",
        "pyopenssl.example",
        HTTP,
        TLS12,
        "python -c 'from OpenSSL import SSL; print(SSL.SSLeay_version(0).decode())'",
    ),
    "curl": Client(
        "curl -sk --max-time 5 --resolve curl.example:$PORT:127.0.0.1 https://curl.example:$PORT/",
        "curl.example",
        HTTP,
        EVERY,
        "curl --version | grep -o '^curl [0-9.]*'",
    ),
    "curl-address": Client(
        "curl -sk --max-time 5 https://127.0.0.1:$PORT/",
        None,  # RFC 6066 section 3: an address is no host name
        HTTP,
        EVERY,
        "curl --version | grep -o '^curl [0-9.]*'",
    ),
    "python": Client(
        """python -c "
import socket, ssl, sys
context = ssl.create_default_context()
context.wrap_socket(
    socket.create_connection(('127.0.0.1', int(sys.argv[1]))), server_hostname='python.example')
" $PORT""",
        "python.example",
        [],
        TLS13,
        "python -c 'import sys, ssl; print(sys.version.split()[0], ssl.OPENSSL_VERSION)'",
    ),
    "node-8": Client(NODE, "node.example", HTTP, TLS12, "node --version"),
    "node-20": Client(NODE, "node.example", HTTP, TLS13, "node --version"),
    "node-24": Client(NODE, "node.example", HTTP, TLS13, "node --version"),
    "bun": Client(NODE.replace("node -e", "bun -e"), "node.example", HTTP, TLS13, "bun --version"),
    "go": Client(GO, "go.example", HTTP, TLS13, "go version"),
    "java": Client(JAVA, "java.example", HTTP, TLS13, "java -version 2>&1 | head -1"),
    "gnutls": Client(
        "gnutls-cli --sni-hostname=gnutls.example --alpn=h2 --alpn=http/1.1 -p $PORT 127.0.0.1",
        "gnutls.example",
        HTTP,
        EVERY,
        "gnutls-cli --version | head -1",
    ),
    "nss": Client(
        "tstclnt -h 127.0.0.1 -a nss.example -p $PORT -D -o -V tls1.2:tls1.3",
        "nss.example",
        [],
        TLS13,
        "dpkg-query -W -f '${Version}\\n' libnss3",
    ),
    "rustls": Client(
        "uv pip install --no-cache --target $DIR --index-url https://localhost:$PORT/simple x",
        "localhost",
        HTTP,
        TLS13,
        "uv --version",
    ),
    "chromium": Client(
        CHROMIUM, "chromium.example", HTTP, TLS13, "chromium-headless-shell --version"
    ),
    "envoy": Client(
        ENVOY,
        "outbound_.5432_._.db.shop.svc.cluster.local",
        ["istio-peer-exchange", "istio"],
        TLS12,
        "envoy --version | grep -o '[0-9.]*/Clean.*'",
    ),
}


def record(name: str, command: str) -> bytes:
    """
    @return: what the client sent; empty when it could not be run.
    """
    with tempfile.TemporaryDirectory() as folder, socket.socket() as port:
        port.bind(("127.0.0.1", 0))
        port.listen()
        port.settimeout(20)
        values = {"PORT": str(port.getsockname()[1]), "NAME": name, "DIR": folder}
        for key, value in values.items():
            command = command.replace(f"${key}", value)
        client = subprocess.Popen(
            ["bash", "-c", command], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=None
        )
        said = b""
        with contextlib.suppress(TimeoutError), client:
            while client.poll() is None and not said:
                with contextlib.suppress(TimeoutError):
                    port.settimeout(0.5)
                    peer, _ = port.accept()
                    with peer:
                        peer.settimeout(0.5)
                        with contextlib.suppress(TimeoutError):
                            while more := peer.recv(65536):
                                said += more
            client.terminate()
        return said


def main(arguments: list[str]) -> None:
    """Record what can be recorded."""
    chosen = dict(argument.partition("=")[::2] for argument in arguments)
    path = HERE / "index.json"
    index = json.loads(path.read_text()) if path.exists() else {}
    for name, client in CLIENTS.items():
        if chosen and name not in chosen:
            continue
        environment = chosen.get(name, "")
        said = record(name, f"{environment}\n{client.command}")
        if not said:
            print(f"{name}: not recorded")
            continue
        version = subprocess.run(
            ["bash", "-c", f"{environment}\n{client.version}"],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "LC_ALL": "C"},
        ).stdout.strip()
        (HERE / f"{name}.bin").write_bytes(said)
        index[name] = {
            "made_by": version,
            "server_name": client.server_name,
            "alpn": client.alpn,
            "versions": client.versions,
        }
        print(f"{name}: {len(said)} bytes, {version}")
    ordered = {name: index[name] for name in sorted(index)}
    path.write_text(json.dumps(ordered, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
