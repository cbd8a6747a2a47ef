"""Bcrypt, once per user: cheap for scrapes with the right password, equally slow for all others."""

import asyncio
import hashlib
import hmac
import secrets
from collections import Counter
from collections.abc import Mapping

import bcrypt

WAITING_CHECKS = 64
WAITING_OF_A_CLIENT = 4
BCRYPT_BYTES = 72  # bcrypt rejects longer passwords; older versions truncated them
_BODY = "C6UzMDM.H6dfI/f/IKcEeO7ZD2cZ0DSvYFWK.kS8m/Cx1T2hPj5Oa"  # salt and digest that no password matches


class Overloaded(Exception):
    """Too many passwords wait to be checked."""


class Passwords:
    """Compares passwords with bcrypt hashes, one at a time, off the event loop.

    Only a success is remembered, one per user and hash, so that guesses can neither fill the memory
    nor push out a scrape's entry. What is remembered is keyed with a secret of this process.
    """

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._known: dict[tuple[str, str], bytes] = {}
        self._one = asyncio.Semaphore()
        self._waiting: Counter[str] = Counter()

    async def match(
        self, users: Mapping[str, str], user: str, password: bytes, client: str = ""
    ) -> bool:
        """Return whether ``password`` belongs to ``user``; raise ``Overloaded`` under a flood.

        ``users`` maps names to hashes, at least one. An unknown name costs as much as that of some user.
        ``client`` is the sender's address: one sender cannot use up the turns of another.
        """
        hashed = users.get(user) or self._decoy(users, user)
        seal = hmac.digest(self._key, password, hashlib.sha256)
        if hmac.compare_digest(self._known.get((user, hashed), b""), seal):
            return True
        if not await self._check(password, hashed, client) or user not in users:
            return False
        self._known = {
            key: kept for key, kept in self._known.items() if users.get(key[0]) == key[1]
        }
        self._known[user, hashed] = seal
        return True

    async def _check(self, password: bytes, hashed: str, client: str) -> bool:
        if self._waiting[client] >= WAITING_OF_A_CLIENT or self._waiting.total() >= WAITING_CHECKS:
            raise Overloaded
        self._waiting[client] += 1
        try:
            async with self._one:
                return await asyncio.to_thread(_same, password, hashed)
        finally:
            self._waiting[client] -= 1
            self._waiting += Counter()  # drops clients with nothing waiting

    def _decoy(self, users: Mapping[str, str], user: str) -> str:
        """Return a hash that no password has, with the cost of one of ``users``.

        The name decides which, so that the time of an answer does not tell whether a name exists.
        """
        costs = sorted(int(hashed.split("$")[2]) for hashed in users.values())
        mark = int.from_bytes(hmac.digest(self._key, user.encode(), hashlib.sha256)[:8])
        return f"$2b${costs[mark % len(costs)]:02}${_BODY}"


def _same(password: bytes, hashed: str) -> bool:
    try:
        return bcrypt.checkpw(password[:BCRYPT_BYTES], hashed.encode())
    except ValueError:
        return False
