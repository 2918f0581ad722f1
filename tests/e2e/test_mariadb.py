"""
MariaDB through a pair of sidecars: a protocol in which the server speaks first, with long
results and several connections at once.

Keeps: the server's greeting reaches a client that has not said a byte; a result of megabytes
comes whole, and in order.
"""

from __future__ import annotations

import os
import random

from twisted.internet.defer import Deferred, gatherResults

from tests.e2e.mesh import EndToEnd
from tests.e2e.processes import WHILE, program

ROWS = 10_000
WRITERS = 4

SCHEMA = b"""
CREATE DATABASE shop CHARACTER SET utf8mb4;
CREATE TABLE shop.orders (
  id INT PRIMARY KEY,
  customer VARCHAR(64) NOT NULL,
  amount DECIMAL(12, 2) NOT NULL,
  note TEXT,
  data BLOB,
  KEY (customer)
);
"""


class MariaDBTests(EndToEnd):
    async def mariadb(self) -> str:
        """
        A new server, without a TCP port, with a root who needs no password.
        """
        data, path = self.directory / "data", self.directory / "mariadb"
        # A server does not run as root unless told to.
        user = ["--user=root"] if os.geteuid() == 0 else []
        await self.run_(
            [program("mariadb-install-db"), "--no-defaults", f"--datadir={data}", *user]
            + ["--auth-root-authentication-method=normal", "--skip-test-db"],
            seconds=WHILE,
        )
        server = self.start(
            [program("mariadbd"), "--no-defaults", f"--datadir={data}", f"--socket={path}", *user]
            + ["--skip-networking", f"--pid-file={self.directory / 'mariadb.pid'}"]
        )
        await server.says("ready for connections", WHILE)
        return f"unix:{path}"

    async def test_tenThousandRows(self) -> None:
        """
        A schema, 10,000 rows written over four connections at once, read back in two ways.
        """
        pair = await self.pair(await self.mariadb())
        client = [program("mariadb"), "--no-defaults", "--host=127.0.0.1", f"--port={pair.port}"]
        # Newer ones ask for TLS, which is the sidecars' part here.
        client += [
            "--user=root",
            "--skip-ssl",
            "--batch",
            "--raw",
            "--default-character-set=utf8mb4",
        ]
        await self.run_(client, SCHEMA)
        rows = _rows()
        part = ROWS // WRITERS
        await gatherResults(
            Deferred.fromCoroutine(self.run_(client, _insert(rows[at : at + part]), WHILE))
            for at in range(0, ROWS, part)
        )
        query = b"SELECT id, customer, amount, note, HEX(data) FROM shop.orders ORDER BY id;"
        output = await self.run_([*client, "--skip-column-names"], query, WHILE)
        read = [tuple(line.split("\t")) for line in output.decode().splitlines()]
        self.assertEqual(len(read), ROWS)
        self.assertEqual([a for a, b in zip(read, rows, strict=True) if a != b][:3], [])
        # What the server makes of them is not only what the client has sent.
        query = b"SELECT COUNT(*), SUM(amount), SUM(LENGTH(data)), COUNT(DISTINCT customer)"
        output = await self.run_(client, query + b" FROM shop.orders;")
        total = sum(round(float(row[2]) * 100) for row in rows)
        expected = f"{ROWS}\t{total // 100}.{total % 100:02d}\t{sum(len(r[4]) // 2 for r in rows)}"
        self.assertEqual(
            output.decode().splitlines()[1], f"{expected}\t{len({row[1] for row in rows})}"
        )
        await pair.check(WRITERS + 3)

    async def test_greeting(self) -> None:
        """
        A client that says nothing is greeted.
        """
        pair = await self.pair(await self.mariadb())
        client = await self.connect(pair.port)
        greeting = await client.reads(16)
        # A packet's length and number, the protocol's version, the server's.
        self.assertRegex(greeting, rb"(?s)^...\x00\x0a\d+\.\d+")
        await client.close()
        await pair.check(1)


def _rows() -> list[tuple[str, ...]]:
    """
    Rows as C{--batch} prints them: no tab, no line end; BLOBs in hexadecimal.
    """
    source = random.Random(11)
    letters = "abcdefghijklmnopqrstuvwxyz äöüßéñ 東京 🚀"
    return [
        (
            str(number),
            f"customer-{source.randrange(500)}",
            f"{source.randrange(10**8) / 100:.2f}",
            "".join(source.choices(letters, k=source.randrange(80))),
            source.randbytes(source.choice((0, 16, 200, 1500))).hex().upper(),
        )
        for number in range(ROWS)
    ]


def _insert(rows: list[tuple[str, ...]]) -> bytes:
    """
    One transaction, 100 rows a statement.
    """
    statements = ["START TRANSACTION;"]
    for at in range(0, len(rows), 100):
        values = ",\n".join(
            f"({number},'{customer}',{amount},'{note}',X'{data}')"
            for number, customer, amount, note, data in rows[at : at + 100]
        )
        statements.append(f"INSERT INTO shop.orders VALUES {values};")
    return "\n".join([*statements, "COMMIT;"]).encode()
