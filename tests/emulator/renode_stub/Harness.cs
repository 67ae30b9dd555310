// Drives a HilNpu from standard input, one command per line, one answer per line ("log ..." lines come between).
using System;
using Antmicro.Renode.Peripherals.Miscellaneous;

namespace HilStub
{
    public static class Harness
    {
        public static void Main()
        {
            var machine = new Machine();
            var npu = new HilNpu(machine);
            string line;
            while((line = Console.ReadLine()) != null)
            {
                Console.WriteLine("= " + Do(machine, npu, line.Split(' ')));
            }
            npu.Dispose();
        }

        private static string Do(Machine machine, HilNpu npu, string[] words)
        {
            switch(words[0])
            {
            case "port":
                npu.Port = int.Parse(words[1]);
                return "";
            case "timeout":
                npu.HostTimeoutMs = int.Parse(words[1]);
                return "";
            case "size":
                return npu.Size.ToString();
            case "write":
                npu.WriteDoubleWord(long.Parse(words[1]), uint.Parse(words[2]));
                return "";
            case "read":
                return npu.ReadDoubleWord(long.Parse(words[1])).ToString();
            case "irq":
                return npu.IRQ.IsSet ? "1" : "0";
            case "advance":
                machine.Advance(ulong.Parse(words[1]));
                return "";
            case "reset":
                npu.Reset();
                return "";
            case "poke":
                var address = int.Parse(words[1]);
                for(var i = 0; i < words[2].Length / 2; i++)
                {
                    machine.Bus.Memory[address + i] = Convert.ToByte(words[2].Substring(2 * i, 2), 16);
                }
                return "";
            case "peek":
                return BitConverter.ToString(machine.Bus.Memory, int.Parse(words[1]), int.Parse(words[2])).Replace("-", "");
            default:
                throw new ArgumentException(words[0]);
            }
        }
    }
}
