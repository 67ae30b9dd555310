*** Settings ***
Documentation       Every platform file loads, and every network of the zoo gets a plan on it: what fits, where each op runs.

Library             hil.robot.ForEach    platform
Resource            ../resources/hil.resource

Test Timeout        2 minutes

Test Tags           platforms


*** Test Cases ***
The File Loads At Every Operating Point
    ${points}=    Evaluate    list(hil.platform.load_platform($TARGET).operating_points)    modules=hil.platform
    FOR    ${point}    IN    @{points}
        Use Platform    ${TARGET}    ${point}
    END

Every Network Of The Zoo Gets A Plan
    ${networks}=    Evaluate    hil.zoo.names()    modules=hil.zoo
    Use Platform    ${TARGET}
    FOR    ${network}    IN    @{networks}
        ${run}=    Run Benchmark    zoo:${network}
        Every Operator Should Have A Place
        Should Be True    $run.fits or $run.reasons    ${network} does not fit ${TARGET}, and nothing says why
    END

A Network That Every Accelerator Takes Stays On It
    ${npu}=    Use Platform    ${TARGET}
    Skip If    not $npu    ${TARGET} has no accelerator at its default operating point
    Run Benchmark    zoo:digits
    All Operators Should Run On NPU
    Should Fit
