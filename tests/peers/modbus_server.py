"""A Modbus TCP server (PyPI pymodbus), unit 1: the machine's signals as big-endian f32 in holding registers.

`type` is at address 0, `air_temperature` at 2, and so on in the order of `machine.SIGNALS`. With `--single` the unit
refuses any request for more than one value, as some devices do.
"""

import asyncio
import logging
import struct

import machine
from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice


class Peer:
    def __init__(self, single: bool) -> None:
        self.single = single
        self.values = {name: value for name, (_, value) in machine.SIGNALS.items()}
        self.failed: dict[str, ExcCodes] = {}
        self.server: ModbusTcpServer | None = None

    async def start(self, port: int) -> int:
        port = port or machine.free_port()
        registers = [SimData(0, count=2 * len(self.values), values=0, datatype=DataType.REGISTERS)]
        device = SimDevice(1, simdata=registers, action=self.access)
        self.server = ModbusTcpServer(device, address=("127.0.0.1", port))
        await self.server.serve_forever(background=True)
        return port

    async def stop(self) -> None:
        await self.server.shutdown()

    async def set(self, name: str, value: float) -> None:
        self.values[name] = value

    async def get(self, name: str) -> float:
        return self.values[name]

    async def fail(self, name: str, failed: bool) -> None:
        self.exception(name, ExcCodes.DEVICE_FAILURE if failed else None)

    async def remove(self, name: str) -> None:
        self.exception(name, ExcCodes.ILLEGAL_ADDRESS)

    async def add(self, name: str) -> None:
        self.exception(name, None)

    def exception(self, name: str, code: ExcCodes | None) -> None:
        self.failed.pop(name, None)
        if code is not None:
            self.failed[name] = code

    async def access(self, _function, _start, address, count, registers, _written) -> ExcCodes | None:
        """Called by the server before each answer: puts the present values into the registers."""
        if self.single and count > 2:
            return ExcCodes.ILLEGAL_ADDRESS
        for index, (name, value) in enumerate(self.values.items()):
            at = 2 * index
            if name in self.failed and address < at + 2 and at < address + count:
                return self.failed[name]
            registers[at : at + 2] = struct.unpack(">HH", struct.pack(">f", value))
        return None


if __name__ == "__main__":
    logging.basicConfig(level=logging.CRITICAL)
    parser = machine.parser(__doc__)
    parser.add_argument("--single", action="store_true", help="refuse requests for more than one value")
    args = parser.parse_args()
    asyncio.run(machine.serve(Peer(args.single), args))
