// The accelerator of an emulated board in Renode.  Registers and framing: firmware/include/npu.h.
//
// A write to COMMAND asks hil over loopback TCP and waits for the answer; virtual time stands still meanwhile, so how
// long the host takes never shows.  The answer says what the job put out and how long it took on the board: that long
// afterwards, in virtual time, the outputs are written to memory and the interrupt is raised.
//
// ASCII only: Renode compiles this file when a script includes it.
using System;
using System.Collections.Generic;
using System.IO;
using System.Net.Sockets;
using Antmicro.Renode.Core;
using Antmicro.Renode.Logging;
using Antmicro.Renode.Peripherals.Bus;
using Antmicro.Renode.Time;

namespace Antmicro.Renode.Peripherals.Miscellaneous
{
    public class HilNpu : IDoubleWordPeripheral, IKnownSize, IDisposable
    {
        public HilNpu(IMachine machine)
        {
            this.machine = machine;
            IRQ = new GPIO();
            HostTimeoutMs = 60000;
        }

        // TCP port of hil on 127.0.0.1; 0: no host, every command fails.
        public int Port { get; set; }

        // Longest time, on the host's clock, that one command may wait for hil.
        public int HostTimeoutMs { get; set; }

        public GPIO IRQ { get; private set; }

        public long Size { get { return 0x1000; } }

        public uint ReadDoubleWord(long offset)
        {
            switch(offset)
            {
            case RegisterId:
                return Id;
            case RegisterStatus:
                return status;
            case RegisterJob:
                return job;
            case RegisterDescriptor:
                return descriptor;
            case RegisterArena:
                return arena;
            case RegisterLatencyLow:
                return (uint)latencyNs;
            case RegisterLatencyHigh:
                return (uint)(latencyNs >> 32);
            default:
                this.Log(LogLevel.Warning, "read of offset 0x{0:X}, where no register is", offset);
                return 0;
            }
        }

        public void WriteDoubleWord(long offset, uint value)
        {
            switch(offset)
            {
            case RegisterCommand:
                Start(value);
                break;
            case RegisterStatus:
                Acknowledge(value);
                break;
            case RegisterJob:
                job = value;
                break;
            case RegisterDescriptor:
                descriptor = value;
                break;
            case RegisterArena:
                arena = value;
                break;
            default:
                this.Log(LogLevel.Warning, "write of 0x{0:X} to offset 0x{1:X}, where nothing can be written", value, offset);
                break;
            }
        }

        public void Reset()
        {
            generation++;
            status = 0;
            job = 0;
            descriptor = 0;
            arena = 0;
            latencyNs = 0;
            IRQ.Set(false);
            Disconnect();
        }

        public void Dispose()
        {
            Disconnect();
        }

        private void Start(uint command)
        {
            if((status & Busy) != 0)
            {
                this.Log(LogLevel.Warning, "command {0} ignored: the last one has not finished", command);
                return;
            }
            status = Busy;
            latencyNs = 0;
            IRQ.Set(false);
            try
            {
                var inputs = new List<Span>();
                var outputs = new List<Span>();
                if(command == CommandRun)
                {
                    ReadDescriptor(inputs, outputs);
                }
                var reply = Ask(command, inputs, Total(outputs));
                latencyNs = reply.LatencyNs;
                FinishLater(outputs, reply);
            }
            catch(Exception e)
            {
                // Whatever it was, the firmware must hear of it; an exception here would stop the emulated core.
                this.Log(LogLevel.Error, "command {0}, job {1}: {2}", command, job, e.Message);
                Disconnect();
                Finish(Done | Error);
            }
        }

        private void Acknowledge(uint value)
        {
            if((value & Done) != 0)
            {
                status &= ~(Done | Error);
                IRQ.Set(false);
            }
        }

        private void Finish(uint flags)
        {
            status = flags;
            IRQ.Set(true);
        }

        private void FinishLater(List<Span> outputs, Reply reply)
        {
            var started = generation;
            // A delay of nothing is not something that Renode's clock takes.
            var delay = TimeInterval.FromNanoseconds(Math.Max(reply.LatencyNs, 1UL));
            machine.ScheduleAction(delay, _ =>
            {
                if(started != generation)
                {
                    return; // the board was reset meanwhile
                }
                if(reply.Status != 0)
                {
                    this.Log(LogLevel.Error, "job {0}: hil answers status {1}", job, reply.Status);
                    Finish(Done | Error);
                    return;
                }
                WriteOutputs(outputs, reply.Data);
                Finish(Done);
            }, "hil npu");
        }

        // struct npu_params: job, numbers of inputs and outputs, then (arena offset, bytes) of each.
        private void ReadDescriptor(List<Span> inputs, List<Span> outputs)
        {
            if(descriptor == 0)
            {
                throw new InvalidDataException("no descriptor");
            }
            var inputCount = machine.SystemBus.ReadDoubleWord((ulong)descriptor + 4);
            var outputCount = machine.SystemBus.ReadDoubleWord((ulong)descriptor + 8);
            if(inputCount > MaxSpans || outputCount > MaxSpans)
            {
                throw new InvalidDataException(string.Format("{0} inputs and {1} outputs; at most {2} of each",
                    inputCount, outputCount, MaxSpans));
            }
            var address = (ulong)descriptor + 12;
            for(var i = 0u; i < inputCount + outputCount; i++, address += 8)
            {
                var span = new Span
                {
                    Address = (ulong)arena + machine.SystemBus.ReadDoubleWord(address),
                    Bytes = machine.SystemBus.ReadDoubleWord(address + 4)
                };
                (i < inputCount ? inputs : outputs).Add(span);
            }
        }

        private static uint Total(List<Span> spans)
        {
            ulong total = 0;
            foreach(var span in spans)
            {
                total += span.Bytes;
            }
            if(total > MaxBytes)
            {
                throw new InvalidDataException(string.Format("{0} bytes in one job; at most {1}", total, MaxBytes));
            }
            return (uint)total;
        }

        private Reply Ask(uint command, List<Span> inputs, uint outputBytes)
        {
            var request = Request(command, inputs);
            var stream = Connect();
            stream.Write(request, 0, request.Length);
            var reader = new BinaryReader(stream); // little-endian, as the framing is
            var magic = reader.ReadUInt32();
            if(magic != ReplyMagic)
            {
                throw new InvalidDataException(string.Format("hil's answer begins with 0x{0:X8}", magic));
            }
            var reply = new Reply { Status = reader.ReadUInt32(), LatencyNs = reader.ReadUInt64() };
            var bytes = reader.ReadUInt32();
            var expected = reply.Status == 0 ? outputBytes : 0;
            if(bytes != expected)
            {
                throw new InvalidDataException(string.Format("hil answers {0} bytes; expected {1}", bytes, expected));
            }
            if(reply.LatencyNs > MaxLatencyNs)
            {
                throw new InvalidDataException(string.Format("hil answers a latency of {0} ns", reply.LatencyNs));
            }
            reply.Data = reader.ReadBytes((int)bytes);
            if(reply.Data.Length != (int)bytes)
            {
                throw new EndOfStreamException("hil's answer ends early");
            }
            return reply;
        }

        private byte[] Request(uint command, List<Span> inputs)
        {
            var inputBytes = Total(inputs);
            var buffer = new MemoryStream(RequestHeaderBytes + (int)inputBytes);
            var writer = new BinaryWriter(buffer);
            writer.Write(RequestMagic);
            writer.Write(command);
            writer.Write(job);
            writer.Write(inputBytes);
            foreach(var span in inputs)
            {
                if(span.Bytes > 0)
                {
                    writer.Write(machine.SystemBus.ReadBytes(span.Address, (int)span.Bytes));
                }
            }
            writer.Flush();
            return buffer.ToArray();
        }

        private void WriteOutputs(List<Span> outputs, byte[] data)
        {
            var position = 0;
            foreach(var span in outputs)
            {
                if(span.Bytes > 0)
                {
                    var part = new byte[span.Bytes];
                    Array.Copy(data, position, part, 0, part.Length);
                    machine.SystemBus.WriteBytes(part, span.Address);
                    position += part.Length;
                }
            }
        }

        private NetworkStream Connect()
        {
            if(client == null)
            {
                if(Port <= 0)
                {
                    throw new InvalidOperationException("no host: the property Port is not set");
                }
                client = new TcpClient(AddressFamily.InterNetwork);
                client.NoDelay = true;
                client.SendTimeout = HostTimeoutMs;
                client.ReceiveTimeout = HostTimeoutMs;
                client.Connect("127.0.0.1", Port);
            }
            return client.GetStream();
        }

        private void Disconnect()
        {
            if(client != null)
            {
                client.Close();
                client = null;
            }
        }

        private readonly IMachine machine;
        private TcpClient client;
        private uint status;
        private uint job;
        private uint descriptor;
        private uint arena;
        private ulong latencyNs;
        private int generation;

        private const uint Id = 0x4E4C4948;
        private const uint RequestMagic = 0x3F55504E;
        private const uint ReplyMagic = 0x2155504E;
        private const int RequestHeaderBytes = 16;

        private const long RegisterId = 0x00;
        private const long RegisterCommand = 0x04;
        private const long RegisterStatus = 0x08;
        private const long RegisterJob = 0x0C;
        private const long RegisterDescriptor = 0x10;
        private const long RegisterArena = 0x14;
        private const long RegisterLatencyLow = 0x18;
        private const long RegisterLatencyHigh = 0x1C;

        private const uint CommandRun = 3;

        private const uint Busy = 1;
        private const uint Done = 2;
        private const uint Error = 4;

        private const uint MaxSpans = 256;
        private const uint MaxBytes = 64 * 1024 * 1024;
        private const ulong MaxLatencyNs = 3600UL * 1000 * 1000 * 1000;

        private struct Span
        {
            public ulong Address;
            public uint Bytes;
        }

        private class Reply
        {
            public uint Status;
            public ulong LatencyNs;
            public byte[] Data;
        }
    }
}
