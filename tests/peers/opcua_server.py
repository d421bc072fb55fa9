"""An OPC UA server (PyPI asyncua) with the machine's signals as nodes `nsu=urn:plant;s=Press7.<name>`."""

import asyncio
import logging
from datetime import datetime, timezone

import machine
from asyncua import Server, ua


class Peer:
    def __init__(self) -> None:
        self.server = Server()
        self.nodes = {}
        self.values = {name: value for name, (_, value) in machine.SIGNALS.items()}

    async def start(self, port: int) -> int:
        await self.server.init()
        port = port or machine.free_port()
        self.server.set_endpoint(f"opc.tcp://127.0.0.1:{port}")
        self.server.set_server_name("explaind test peer")
        self.server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        self.namespace = await self.server.register_namespace("urn:plant")
        self.press = await self.server.nodes.objects.add_object(self.namespace, "Press7")
        for name in self.values:
            await self.add(name)
        await self.server.start()
        return port

    async def stop(self) -> None:
        await self.server.stop()

    async def set(self, name: str, value: float) -> None:
        self.values[name] = value
        await self.write(name, ua.StatusCodes.Good)

    async def get(self, name: str) -> float:
        return self.values[name]

    async def fail(self, name: str, failed: bool) -> None:
        await self.write(name, ua.StatusCodes.BadSensorFailure if failed else ua.StatusCodes.Good)

    async def add(self, name: str) -> None:
        node = ua.NodeId(f"Press7.{name}", self.namespace)
        value = ua.Variant(self.values[name], ua.VariantType.Double)
        self.nodes[name] = await self.press.add_variable(node, name, value)

    async def remove(self, name: str) -> None:
        # asyncua deletes a node without a word to its subscribers; a proper server tells them.
        await self.write(name, ua.StatusCodes.BadNodeIdUnknown)
        await asyncio.sleep(1)
        await self.server.delete_nodes([self.nodes.pop(name)])

    async def write(self, name: str, status: int) -> None:
        value = ua.Variant(self.values[name], ua.VariantType.Double)
        now = datetime.now(timezone.utc)
        await self.nodes[name].write_value(ua.DataValue(value, ua.StatusCode(status), now, now))


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    asyncio.run(machine.serve(Peer(), machine.parser(__doc__).parse_args()))
