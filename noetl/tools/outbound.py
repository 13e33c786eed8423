"""Whom this node may call by HTTP.

Addresses inside of a network are closed unless the operator names them: a playbook's URL must not reach them by chance, by a redirect, or by a name
that somebody else resolves. What counts is the address that is connected to. Pure: nothing here talks to anybody.
"""

from __future__ import annotations

import fnmatch
import ipaddress
from collections.abc import Iterable, Sequence
from typing import Final

from noetl.errors import SettingsError, ToolRefused

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

CLASSES: Final = ("loopback", "link-local", "private")
"""Classes of addresses that a setting can open. What none of them opens needs its own host or network: cloud metadata, multicast, reserved."""

_METADATA: Final = frozenset(
    map(
        ipaddress.ip_address,
        ("169.254.169.254", "169.254.170.2", "169.254.170.23", "fd00:ec2::254", "fd00:ec2::23", "100.100.100.200", "168.63.129.16", "192.0.0.192"),
    )
)
"""AWS, Azure and Google, tasks and pods of AWS, Alibaba, Azure's host, Oracle. They give out a machine's credentials."""
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")


def class_of(address: Address) -> str | None:
    """`loopback`, `link-local`, `private`, `cloud metadata`, `multicast` or `reserved`; None: everybody may call it."""
    inner = _embedded(address)
    if inner is not None:
        return class_of(inner)
    if address in _METADATA:
        return "cloud metadata"
    if address.is_loopback or address.is_unspecified:  # a connection to 0.0.0.0 ends on this machine
        return "loopback"
    if address.is_link_local:
        return "link-local"
    if address.is_multicast:
        return "multicast"
    if address.is_private or (isinstance(address, ipaddress.IPv6Address) and address.is_site_local):
        return "private"
    return None if address.is_global else "reserved"


def _embedded(address: Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 address leads to."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)


def literal(host: str) -> Address | None:
    """The address, if a host is one."""
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None


class Outbound:
    """`allow` (setting `http.allow`) holds classes, networks, addresses, and names of hosts, of which `*.example.org` stands for all below it."""

    def __init__(self, allow: Iterable[str]) -> None:
        """Raises `SettingsError` for a network that is none."""
        self._classes: set[str] = set()
        self._networks: list[Network] = []
        self._hosts: list[str] = []
        for entry in allow:
            self._add(entry.strip())

    def _add(self, entry: str) -> None:
        if entry in CLASSES:
            self._classes.add(entry)
        elif "/" in entry or literal(entry) is not None:
            try:
                self._networks.append(ipaddress.ip_network(entry.strip("[]"), strict=False))
            except ValueError as error:
                raise SettingsError(f"http.allow: '{entry}' is no network: {error}") from None
        else:
            self._hosts.append(entry.lower())

    def allowed(self, host: str, addresses: Sequence[Address]) -> list[Address]:
        """Those of a host's addresses that may be called. Raises `ToolRefused` (kind `refused`) when there are some, and none of them may."""
        if any(fnmatch.fnmatchcase(host.lower(), name) for name in self._hosts):
            return list(addresses)
        kept = [address for address in addresses if self._is_open(address)]
        if addresses and not kept:
            raise self._refusal(host, addresses[0])
        return kept

    def _is_open(self, address: Address) -> bool:
        found = class_of(address)
        return found is None or found in self._classes or any(_holds(network, address) for network in self._networks)

    def _refusal(self, host: str, address: Address) -> ToolRefused:
        found = class_of(address)
        which = f"{host} is" if str(address) == host.strip("[]") else f"{host} is {address},"
        opens = f"the host, its network or '{found}'" if found in CLASSES else "the host or its network"
        what = "the address of cloud metadata" if found == "cloud metadata" else f"a {found} address"
        return ToolRefused(
            f"{which} {what}: not called from here unless http.allow (NOETL_HTTP_ALLOW) has {opens}",
            kind="refused",
            extra={"address_class": found},
        )


def _holds(network: Network, address: Address) -> bool:
    inner = _embedded(address)
    return address in network or (inner is not None and inner in network)


def is_for(host: str, hosts: Sequence[str]) -> bool:
    """Whether a host is one of those: by name, by address, or below a `*.name`."""
    given = host.strip("[]").lower()
    return any(fnmatch.fnmatchcase(given, name.lower()) if name.startswith("*.") else given == name.strip("[]").lower() for name in hosts)
