// The part of Renode's API that HilNpu.cs uses, with signatures as Renode has them and behaviour as far as the tests
// need it: a flat memory, a clock that moves when told to, an interrupt line that remembers its level.
using System;
using System.Collections.Generic;

namespace Antmicro.Renode.Core
{
    using Antmicro.Renode.Peripherals.Bus;
    using Antmicro.Renode.Time;

    public interface IEmulationElement
    {
    }

    public interface IMachine : IEmulationElement
    {
        IBusController SystemBus { get; }
        void ScheduleAction(TimeInterval delay, Action<TimeInterval> action, string name = null);
    }

    public sealed class GPIO
    {
        public bool IsSet { get; private set; }

        public void Set(bool value)
        {
            IsSet = value;
        }
    }
}

namespace Antmicro.Renode.Time
{
    public struct TimeInterval
    {
        public ulong Ticks { get; private set; }

        public static TimeInterval FromNanoseconds(ulong v)
        {
            return new TimeInterval { Ticks = v };
        }
    }
}

namespace Antmicro.Renode.Logging
{
    using Antmicro.Renode.Core;

    public sealed class LogLevel
    {
        public static readonly LogLevel Warning = new LogLevel("warning");
        public static readonly LogLevel Error = new LogLevel("error");

        public override string ToString()
        {
            return name;
        }

        private LogLevel(string name)
        {
            this.name = name;
        }

        private readonly string name;
    }

    public static class Logger
    {
        public static void Log(this IEmulationElement e, LogLevel type, string message, params object[] args)
        {
            Console.WriteLine("log {0} {1}", type, string.Format(message, args));
        }
    }
}

namespace Antmicro.Renode.Peripherals
{
    using Antmicro.Renode.Core;

    public interface IPeripheral : IEmulationElement
    {
        void Reset();
    }
}

namespace Antmicro.Renode.Peripherals.CPU
{
    public interface ICPU : IPeripheral
    {
    }
}

namespace Antmicro.Renode.Peripherals.Bus
{
    using Antmicro.Renode.Peripherals.CPU;

    public interface IBusPeripheral : IPeripheral
    {
    }

    public interface IDoubleWordPeripheral : IBusPeripheral
    {
        uint ReadDoubleWord(long offset);
        void WriteDoubleWord(long offset, uint value);
    }

    public interface IKnownSize : IBusPeripheral
    {
        long Size { get; }
    }

    public interface IBusController : IPeripheral
    {
        uint ReadDoubleWord(ulong address, ICPU context = null);
        byte[] ReadBytes(ulong address, int count, bool onlyMemory = false, ICPU context = null);
        void WriteBytes(byte[] bytes, ulong address, bool onlyMemory = false, ICPU context = null);
        void WriteBytes(byte[] bytes, ulong address, long count, bool onlyMemory = false, ICPU context = null);
    }
}

namespace HilStub
{
    using Antmicro.Renode.Core;
    using Antmicro.Renode.Peripherals.Bus;
    using Antmicro.Renode.Peripherals.CPU;
    using Antmicro.Renode.Time;

    // Memory from address 0; an access beyond its end throws, as a hostile descriptor would make it.
    public class Bus : IBusController
    {
        public readonly byte[] Memory = new byte[1 << 20];

        public uint ReadDoubleWord(ulong address, ICPU context = null)
        {
            return BitConverter.ToUInt32(Memory, checked((int)address));
        }

        public byte[] ReadBytes(ulong address, int count, bool onlyMemory = false, ICPU context = null)
        {
            var bytes = new byte[count];
            Array.Copy(Memory, checked((int)address), bytes, 0, count);
            return bytes;
        }

        public void WriteBytes(byte[] bytes, ulong address, bool onlyMemory = false, ICPU context = null)
        {
            Array.Copy(bytes, 0, Memory, checked((int)address), bytes.Length);
        }

        public void WriteBytes(byte[] bytes, ulong address, long count, bool onlyMemory = false, ICPU context = null)
        {
            throw new NotSupportedException();
        }

        public void Reset()
        {
        }
    }

    public class Machine : IMachine
    {
        public readonly Bus Bus = new Bus();

        public IBusController SystemBus { get { return Bus; } }

        public void ScheduleAction(TimeInterval delay, Action<TimeInterval> action, string name = null)
        {
            if(delay.Ticks == 0)
            {
                throw new ArgumentException("a delay of nothing");
            }
            pending.Add(new KeyValuePair<ulong, Action<TimeInterval>>(now + delay.Ticks, action));
        }

        public void Advance(ulong nanoseconds)
        {
            now += nanoseconds;
            var due = pending.FindAll(entry => entry.Key <= now);
            pending.RemoveAll(entry => entry.Key <= now);
            foreach(var entry in due)
            {
                entry.Value(TimeInterval.FromNanoseconds(entry.Key));
            }
        }

        private ulong now;
        private readonly List<KeyValuePair<ulong, Action<TimeInterval>>> pending =
            new List<KeyValuePair<ulong, Action<TimeInterval>>>();
    }
}
