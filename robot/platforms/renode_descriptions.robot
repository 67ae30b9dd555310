*** Settings ***
Documentation       Loads every Renode description of platforms/ in a real Renode, looks for the parts that hil uses, and
...                 waits until the firmware says on the console that it is ready.
...
...                 Run from the top of the checkout: robot robot/platforms/renode_descriptions.robot
...                 Renode is looked for as hil does it: HIL_RENODE, the PATH, renode-run. Without it, all is skipped.

Library             OperatingSystem

Suite Setup         Start Renode
Suite Teardown      Stop Renode
Test Setup          Execute    Clear
Test Template       Description Should Load
Test Timeout        5 minutes

Test Tags           platforms    engine:renode


*** Variables ***
${ROOT}             ${CURDIR}/../..
${NPU_SOURCE}       ${{ hil.__path__[0] }}/emulator/renode/HilNpu.cs
${ENGINE}           hil.emulator.renode.engine
${NPU_ID}           0x4E4C4948
${BOOT_TIMEOUT}     1 minute
${PATHS}            ${{{"Path": pathlib.Path}}}
${MONITOR}          ${None}


*** Test Cases ***    ID
cv1800b               cv1800b
efr32xg24             efr32xg24
esp32-p4              esp32-p4
esp32-s3              esp32-s3
gap8                  gap8
gap9                  gap9
hx-we2                hx-we2
max78000              max78000
max78002              max78002
mcxn947               mcxn947
nrf54lm20             nrf54lm20
stm32h743             stm32h743
stm32h747             stm32h747
stm32h7a3             stm32h7a3
stm32l4r5             stm32l4r5
stm32n6               stm32n6
stm32u575             stm32u575

The Script's Own Defaults
    [Documentation]    As somebody types it in a checkout: no variable is set, the program is in Renode's own folder.
    [Setup]    Restart Renode
    [Template]    NONE
    VAR    ${folder}    ${ROOT}/platforms/max78000
    Copy File    ${folder}/README.md    ${MONITOR.folder}/program.bin
    VAR    ${uart}    ${MONITOR.folder}/uart-defaults
    ${console}=    Evaluate    ${ENGINE}.console_commands(Path($folder, "max78000.resc"), Path($uart))
    ...    modules=${ENGINE}    namespace=${PATHS}
    VAR    @{commands}    include @${folder}/max78000.resc    @{console}
    Firmware Should Be Ready    ${commands}    ${uart}
    Parts Should Be There


*** Keywords ***
Description Should Load
    [Documentation]    With hil's own commands where there is firmware, else the description alone.
    [Arguments]    ${id}
    VAR    ${folder}    ${ROOT}/platforms/${id}
    VAR    ${uart}    ${MONITOR.folder}/uart-${id}
    ${images}=    Evaluate    hil.emulator.images.images()    modules=hil.emulator.images
    IF    "renode-${id}" in $images
        VAR    ${image}    ${images}[renode-${id}]
        VAR    ${script}    ${folder}/${id}.resc
        VAR    ${program}    ${folder}/README.md    # any file: the firmware looks at it when it is asked to run it
        VAR    &{given}    elf=${image.file}    npu_port=${0}    mips=${image.mips}    log=${MONITOR.log}
        ${commands}=    Evaluate
        ...    ${ENGINE}.start_commands(Path($script), program=Path($program), uart=Path($uart), **$given)
        ...    modules=${ENGINE}    namespace=${PATHS}
        Firmware Should Be Ready    ${commands}    ${uart}
    ELSE
        Execute    include @${NPU_SOURCE}
        Execute    mach create "${id}"
        Execute    machine LoadPlatformDescription @${folder}/${id}.repl
    END
    Parts Should Be There

Firmware Should Be Ready
    [Documentation]    Starts the board and reads its console up to the prompt.
    [Arguments]    ${commands}    ${uart}
    Evaluate    ${ENGINE}.start_board($MONITOR, $commands, Path($uart))    modules=${ENGINE}    namespace=${PATHS}
    # Not through pyserial, which throws away what was said before it came.
    ${console}=    Evaluate    hil.board.serve.FdLink(os.open($uart, os.O_RDWR | os.O_NOCTTY), $uart)
    ...    modules=hil.board.serve, os
    VAR    ${said}    ${EMPTY}
    TRY
        WHILE    "m-ready" not in $said    limit=${BOOT_TIMEOUT}    on_limit_message=no m-ready within ${BOOT_TIMEOUT}
            ${data}=    Call Method    ${console}    read    ${4096}    ${1.0}
            VAR    ${said}    ${said}${data.decode("ascii", "replace")}
        END
    FINALLY
        Call Method    ${console}    close
    END

Parts Should Be There
    Value Should Be    sysbus.npu ReadDoubleWord 0x0    ${NPU_ID}
    Execute    sysbus.program WriteDoubleWord 0x1000 0x600DCAFE
    Value Should Be    sysbus.program ReadDoubleWord 0x1000    0x600DCAFE

Start Renode
    [Timeout]    3 minutes
    TRY
        ${renode}=    Evaluate    hil.emulator.renode.find.find_renode()    modules=hil.emulator.renode.find
    EXCEPT    AS    ${why}
        Skip    ${why.split("UnavailableError: ")[-1]}
    END
    ${monitor}=    Evaluate    hil.emulator.renode.client.Monitor($renode)    modules=hil.emulator.renode.client
    VAR    ${MONITOR}    ${monitor}    scope=SUITE

Stop Renode
    IF    $MONITOR is not None    Call Method    ${MONITOR}    close

Restart Renode
    [Documentation]    Variables of Renode's Monitor outlive a Clear.
    Stop Renode
    Start Renode

Execute
    [Arguments]    ${command}
    ${printed}=    Call Method    ${MONITOR}    execute    ${command}
    RETURN    ${printed}

Value Should Be
    [Arguments]    ${command}    ${expected}
    ${printed}=    Execute    ${command}
    Should Be Equal As Integers    ${printed.strip()}    ${expected}
