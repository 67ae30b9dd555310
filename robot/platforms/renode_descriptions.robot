*** Settings ***
Documentation       Loads every Renode description of platforms/ in a real Renode and looks for the parts that hil uses.
...
...                 Run from the top of the checkout: robot robot/platforms/renode_descriptions.robot
...                 Renode is looked for as hil does it: HIL_RENODE, the PATH, renode-run. Without it, all is skipped.

Suite Setup         Start Renode
Suite Teardown      Stop Renode
Test Setup          Execute    Clear
Test Template       Description Should Load
Test Timeout        5 minutes


*** Variables ***
${ROOT}             ${CURDIR}/../..
${NPU_SOURCE}       ${ROOT}/hil/emulator/renode/HilNpu.cs
${IMAGES}           ${ROOT}/hil/emulator/images
${NPU_ID}           0x4E4C4948
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


*** Keywords ***
Description Should Load
    [Documentation]    Through the start script where there is firmware, else the description alone.
    [Arguments]    ${id}
    VAR    ${image}    ${IMAGES}/renode-${id}.elf
    ${has_firmware}=    Evaluate    os.path.isfile($image)    modules=os
    IF    ${has_firmware}
        Start Script    ${id}    ${image}
    ELSE
        Execute    include @${NPU_SOURCE}
        Execute    mach create "${id}"
        Execute    machine LoadPlatformDescription @${ROOT}/platforms/${id}/${id}.repl
    END
    Value Should Be    sysbus.npu ReadDoubleWord 0x0    ${NPU_ID}
    Execute    sysbus.program WriteDoubleWord 0x1000 0x600DCAFE
    Value Should Be    sysbus.program ReadDoubleWord 0x1000    0x600DCAFE

Start Script
    [Documentation]    The script loads firmware and a program (any file will do here), then runs for a millisecond.
    [Arguments]    ${id}    ${image}
    Execute    $elf=@${image}
    Execute    $program=@${ROOT}/platforms/${id}/README.md
    Execute    $npu=@${NPU_SOURCE}
    Execute    include @${ROOT}/platforms/${id}/${id}.resc
    Execute    emulation RunFor "0.001000"
    ${executed}=    Execute    sysbus.cpu ExecutedInstructions
    Should Be True    int($executed.strip(), 16) > 0    the core of ${id} executed nothing

Start Renode
    TRY
        ${renode}=    Evaluate    hil.emulator.renode.find.find_renode()    modules=hil.emulator.renode.find
    EXCEPT    AS    ${why}
        Skip    ${why.split("UnavailableError: ")[-1]}
    END
    ${monitor}=    Evaluate    hil.emulator.renode.client.Monitor($renode)    modules=hil.emulator.renode.client
    VAR    ${MONITOR}    ${monitor}    scope=SUITE

Stop Renode
    IF    $MONITOR is not None    Call Method    ${MONITOR}    close

Execute
    [Arguments]    ${command}
    ${printed}=    Call Method    ${MONITOR}    execute    ${command}
    RETURN    ${printed}

Value Should Be
    [Arguments]    ${command}    ${expected}
    ${printed}=    Execute    ${command}
    Should Be Equal As Integers    ${printed.strip()}    ${expected}
